"""Arrays of other libraries, seen as NumPy or CuPy arrays over the same memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

from .checks.plain_array import check_plain
from .types import Array

_TIMES = "such as days: (values - values.min()) / numpy.timedelta64(1, 'D')"
_REMEDIES = {"c": "such as values.real or numpy.abs(values)", "M": _TIMES, "m": _TIMES}
"""Kinds of dtypes that are no real numbers -> what to take in their place."""

_CPU, _CUDA, _PINNED, _MANAGED = 1, 2, 3, 13  # DLPack's numbers for kinds of device


def as_array(value: Any, name: str = "value") -> Array:
    """A NumPy or CuPy array over the memory of any array; nothing is copied.

    Args:
        value: a NumPy or CuPy array, which is returned itself; or anything with DLPack
            (`__dlpack__`), the CUDA array interface or NumPy's (`__array_interface__`,
            `__array__`), such as PyTorch tensors on the CPU or a GPU, parameters that require
            gradients included, and JAX arrays. A copy only where the library gives one.
        name: what errors call it.

    Returns:
        An array in which writing writes `value`. What its library doesn't let others write is
        read-only, as JAX arrays are.

    Raises:
        TypeError: `value` is no array, or one of a dtype that NumPy doesn't have, such as bfloat16.
        ValueError: it lies on a device that neither NumPy nor CuPy reaches.
        ImportError: it lies on an NVIDIA GPU and CuPy is not installed.

    Conventions: PyTorch's graph isn't told of what is written through the array, as under
        `torch.no_grad()`. On a GPU what CuPy is asked for from then on comes after what the other
        library was asked for, but not the other way round: step functions, and optimizers of
        PyTorch's tensors, let PyTorch's current stream wait for CuPy's; elsewhere see to it, or
        use the default streams of both, which are one.

    Example:
        >>> import numpy as np
        >>> from onepass import as_array
        >>> as_array(memoryview(np.arange(3.0)))
        array([0., 1., 2.])
    """
    if isinstance(value, np.ndarray) or is_cupy_array(value):
        return value
    if hasattr(value, "detach"):  # a tensor that requires gradients gives no memory away
        value = value.detach()
    kind = value.__dlpack_device__()[0] if hasattr(value, "__dlpack_device__") else _CPU
    if kind in (_CUDA, _MANAGED) or hasattr(value, "__cuda_array_interface__"):
        return _on_gpu(value, name)
    if kind not in (_CPU, _PINNED):
        raise ValueError(
            f"{name} lies on a device that is neither the CPU nor an NVIDIA GPU (DLPack's number "
            f"{int(kind)}); expected one of those. Move it to the CPU first"
        )
    return _on_cpu(value, name)


def taken_in(names: Iterable[str], arrays: Iterable[Any]) -> tuple[Array, ...]:
    """The arrays of one call as NumPy or CuPy arrays; what is no array at all is left to checks.

    Raises:
        TypeError: as `check_plain`: a mask would be lost.
    """
    return tuple(_taken_in(array, name) for name, array in zip(names, arrays, strict=True))


def _taken_in(array: Any, name: str) -> Any:
    check_plain(array, name)
    return as_array(array, name) if _is_foreign(array) else array


def check_real(values: Any, dtype: Any) -> None:
    """TypeError where `values` are complex, or times, and `dtype` is a real one.

    NumPy would drop imaginary parts, and count nanoseconds in a dtype that can't tell minutes.
    """
    own = [values.dtype] if hasattr(values, "dtype") else [*getattr(values, "dtypes", ())]
    for each in own:
        kind = getattr(each, "kind", "")
        if kind in _REMEDIES and dtype is not None and np.dtype(dtype).kind != kind:
            raise TypeError(f"values have dtype {each}; expected real numbers, {_REMEDIES[kind]}")


def array_of(value: Any, name: str = "value") -> Array:
    """What is like an array as one: NumPy's and CuPy's themselves, lists and frames as NumPy's.

    Raises:
        TypeError, ValueError, ImportError: as `as_array`.
    """
    (array,) = taken_in([name], [value])
    return array if isinstance(array, np.ndarray) or is_cupy_array(array) else np.asarray(array)


def _is_foreign(value: Any) -> bool:
    """Whether it is an array, but none of NumPy's (scalars have the interface too) or CuPy's."""
    if value is None or isinstance(value, (np.ndarray, np.generic)) or is_cupy_array(value):
        return False
    return hasattr(value, "__dlpack__") or hasattr(value, "__array_interface__")


def _on_gpu(value: Any, name: str) -> Array:
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"{name} lies on an NVIDIA GPU, which takes CuPy to work on: pip install "
            '"onepass[cuda13]" (or "onepass[cuda12]"), or move it to the CPU'
        ) from error
    if hasattr(value, "__dlpack__"):
        return cupy.from_dlpack(value)
    return cupy.asarray(value)


def _bits(value: Any) -> str:
    """What to do with PyTorch's bfloat16."""
    if str(getattr(value, "dtype", "")) != "torch.bfloat16":
        return ""
    bits = "tensor.view(torch.uint16)"
    return (
        f". kernels take the bits of bfloat16 as uint16: pass {bits}; norms take ml_dtypes' dtype, "
        f"once it is imported: {bits}.numpy().view('bfloat16')"
    )


def _on_cpu(value: Any, name: str) -> np.ndarray:
    has_numpys = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    try:
        if hasattr(value, "__dlpack__") and not has_numpys:
            return np.from_dlpack(value)
        array = np.asarray(value)
    except TypeError as error:  # a dtype that NumPy does not have
        raise TypeError(
            f"{name} is a {type(value).__name__} of {getattr(value, 'dtype', 'unknown dtype')}, "
            f"which NumPy can't see ({error}); expected float16, float32 or float64{_bits(value)}"
        ) from error
    if array.dtype.isbuiltin == 2:  # ml_dtypes' bfloat16 and its like, which JAX brings
        norms = "; norms take it as numpy.asarray gives it" * (array.dtype.name == "bfloat16")
        raise TypeError(
            f"{name} is a {type(value).__name__} of {array.dtype}; expected float16, float32 or "
            f"float64{norms}"
        )
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} is a {type(value).__name__}; expected an array of numbers")
    return array
