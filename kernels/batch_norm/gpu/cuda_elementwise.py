"""The elementwise kernels of batch normalization as plain text: y, dx, and y at inference."""

from __future__ import annotations

from .cuda_text import preamble


def elementwise(name: str, dtype: str, relu: bool) -> dict[str, str]:
    """What an ElementwiseKernel is made of: "normalize", "differentiate" or "infer"."""
    compute = "float64" if dtype == "float64" else "float32"
    vectors, operation = _ELEMENTWISE[name]
    arrays = [f"{dtype} dy"] if name == "differentiate" else []
    inputs = [*arrays, f"{dtype} x", *(f"{compute} {vector}" for vector in vectors)]
    return {
        "in_params": ", ".join(inputs),
        "out_params": f"{dtype} {'dx' if arrays else 'y'}",
        "operation": operation.replace("RELU", str(int(relu))),
        "name": f"batch_norm_{name}_{dtype}{'_relu' * relu}",
        "preamble": preamble(dtype),
    }


_ELEMENTWISE = {
    "normalize": (
        ("center", "scale", "shift"),
        """C value;
normalized(C(x), center, scale, shift, value);
if (RELU) rectified(value, C(0));
y = value;""",
    ),
    "differentiate": (
        ("center", "scale", "shift", "slope", "offset"),
        """C g = dy;
const C at = C(x);
if (RELU) g = gated(g, at, center, scale, shift);
C value;
input_gradient(g, at, center, scale, slope, offset, value);
dx = value;""",
    ),
    "infer": (
        ("mean", "var", "gamma", "beta", "eps"),
        """C inv_std, scale, shift, value;
deviation(var, eps, C(1), inv_std);
affine(gamma, beta, C(0), inv_std, scale, shift);
normalized(C(x), mean, scale, shift, value);
if (RELU) rectified(value, C(0));
y = value;""",
    ),
}
