"""Arrays of no library, which speak one protocol alone."""

from __future__ import annotations


class OnlyDLPack:
    """An array that offers DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnlyInterface:
    """An array that offers NumPy's array interface and nothing else."""

    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__
