"""The exceptions that speak of devices, engines, where arrays live and what a GPU can't do."""


class DeviceUnavailableError(RuntimeError):
    """A device was asked for by name and can't be used; the message says why and what to do."""


class EngineUnavailableError(RuntimeError):
    """An engine was asked for by name and can't run here, on this device or on this dtype."""


class MixedBackendsError(TypeError):
    """Arrays of one call live on different devices or in different array libraries."""


class KernelError(RuntimeError):
    """A GPU kernel can't be compiled or launched; the message names it, its dtype and the remedy.

    What could not be compiled has written nothing. The compiler's whole text is its `__cause__`.
    """


class DeviceMemoryError(MemoryError):
    """A GPU ran out of memory; the message names the kernel, its dtype and the remedy.

    Nothing was written: parameters, states and running statistics are as before the call.
    """
