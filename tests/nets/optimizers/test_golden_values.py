"""Parameters that Keras' own tests expect, reached with the options that stand for its defaults.

The numbers are those of keras/src/optimizers/*_test.py of keras-team/keras, `test_single_step`,
`test_weight_decay` and `test_correctness_with_golden`; they have four digits, and a row of one
number stands for ten that are nearly it. Its Adagrad and Adamax have another place for an eps that
is too small to show.
"""

from __future__ import annotations

import numpy as np
import pytest
from onepass.nets import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    NAdam,
    RMSprop,
)

KERAS = {"eps": 1e-7, "eps_uncorrected": True}
GOLDEN = {  # parameters before each of five steps but the first, of ones
    "AMSGrad": (AMSGrad, KERAS, [0.999, 0.9982, 0.9974, 0.9965, 0.9955]),
    "RMSprop": (
        RMSprop,
        {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_inside_sqrt": True, "centered": True},
        [0.9967, 0.9933, 0.9908, 0.9885, 0.9864],
    ),
    "Lion": (Lion, {"lr": 1e-3}, [0.999, 0.998, 0.997, 0.996, 0.995]),
    "Adadelta": (Adadelta, {"rho": 0.8}, [0.9978, 0.9947, 0.9915, 0.9882, 0.9849]),
    "NAdam": (
        NAdam,
        {"lr": 0.5, "betas": (0.5, 0.67), "eps": 1e-5, "momentum_decay": 1.0},
        [
            [0.4281] * 10,
            [-0.1738, -0.1731, -0.1726, -0.1723, -0.1721, -0.172, -0.1719, -0.1718, -0.1718,
             -0.1717],
            [-0.7115, -0.7103, -0.7096, -0.7092, -0.709, -0.7088, -0.7086, -0.7085, -0.7085,
             -0.7084],
            [-1.2335, -1.2322, -1.2313, -1.2309, -1.2306, -1.2304, -1.2302, -1.2301, -1.23,
             -1.2299],
            [-1.7492, -1.7478, -1.7469, -1.7464, -1.7461, -1.7459, -1.7457, -1.7456, -1.7455,
             -1.7454],
        ],
    ),
    "AdaGrad": (
        AdaGrad,
        {"lr": 0.2, "initial_accumulator_value": 0.3, "eps": 1e-6},
        [
            [0.9963] * 10,
            [0.9604, 0.9278, 0.9003, 0.8784, 0.8615, 0.8487, 0.8388, 0.8313, 0.8255, 0.8209],
            [0.9251, 0.8629, 0.8137, 0.7768, 0.7497, 0.7298, 0.7151, 0.704, 0.6956, 0.6891],
            [0.8903, 0.8012, 0.7342, 0.6862, 0.6521, 0.6277, 0.6099, 0.5967, 0.5867, 0.579],
            [0.856, 0.7422, 0.6604, 0.6037, 0.5644, 0.5367, 0.5168, 0.5021, 0.491, 0.4825],
        ],
    ),
    "Adamax": (
        Adamax,
        {"lr": 0.2, "betas": (0.85, 0.95), "eps": 1e-6},
        [
            [0.8] * 10,
            [0.6827, 0.6873, 0.6888, 0.6896, 0.6901, 0.6904, 0.6906, 0.6908, 0.6909, 0.691],
            [0.5333, 0.5407, 0.5431, 0.5444, 0.5451, 0.5456, 0.546, 0.5462, 0.5464, 0.5466],
            [0.368, 0.3773, 0.3804, 0.382, 0.3829, 0.3835, 0.384, 0.3843, 0.3846, 0.3848],
            [0.1933, 0.204, 0.2076, 0.2094, 0.2105, 0.2112, 0.2117, 0.2121, 0.2124, 0.2126],
        ],
    ),
    "AdamW": (
        AdamW,
        {"lr": 1.0, "weight_decay": 0.5, "eps": 2.0, "eps_uncorrected": True},
        [
            [0.4998] * 10,
            [0.2486, 0.2475, 0.2463, 0.2451, 0.244, 0.2428, 0.2417, 0.2405, 0.2394, 0.2382],
            [0.1223, 0.1198, 0.1174, 0.1149, 0.1124, 0.11, 0.1075, 0.1051, 0.1027, 0.1003],
            [0.0586, 0.0549, 0.0512, 0.0475, 0.0439, 0.0402, 0.0366, 0.033, 0.0294, 0.0258],
            [0.0263, 0.0215, 0.0167, 0.012, 0.0073, 0.0026, -0.0021, -0.0067, -0.0113, -0.0159],
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_five_steps(name):
    kind, options, golden = GOLDEN[name]
    param = np.ones(10)
    optimizer = kind([param], **options)
    optimizer.step([np.full(10, 0.01)])
    for row in golden:
        np.testing.assert_allclose(param, row, rtol=0, atol=1e-4 if np.ndim(row) else 3e-4)
        optimizer.step([np.arange(1, 11) / 10])


SINGLE = [
    (Adam, KERAS, [0.5, 1.5, 2.5, 3.5]),
    (AdamW, {**KERAS, "weight_decay": 0.004}, [0.4980, 1.4960, 2.494, 3.492]),
    (Adamax, {"eps": 1e-7}, [0.5, 1.5, 2.5, 3.5]),
    (NAdam, {"eps": 1e-7, "momentum_decay": 1.0}, [0.4686, 1.4686, 2.4686, 3.4686]),
    (Adadelta, {"rho": 0.95, "eps": 1e-7}, [0.9993, 1.9993, 2.9993, 3.9993]),
    (AdaGrad, {"initial_accumulator_value": 0.1, "eps": 1e-7}, [0.5233, 1.5007, 2.5005, 3.5061]),
    (RMSprop, {"alpha": 0.9, "eps": 1e-7, "eps_inside_sqrt": True},
     [-0.5811, 0.4189, 1.4189, 2.4189]),
    (Lion, {}, [0.5, 1.5, 2.5, 3.5]),
    (SGD, {}, [0.5, -1.0, -0.5, 3.0]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "golden"), SINGLE)
def test_a_single_step(kind, options, golden):
    param = np.arange(1.0, 5.0)
    kind([param], lr=0.5, **options).step([np.array([1.0, 6.0, 7.0, 2.0])])
    np.testing.assert_allclose(param, golden, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kind", [SGD, Momentum, AdaGrad, RMSprop, Adam, AdamW, AMSGrad, NAdam, Adamax, Adadelta, Lion]
)
def test_decoupled_decay_alone(kind):
    """Three steps without a gradient: 2 (1 - 0.004)^3."""
    param = np.array([2.0])
    optimizer = kind([param], lr=1.0, weight_decay=0.004, decoupled=True)
    for _ in range(3):
        optimizer.step([np.zeros(1)])
    np.testing.assert_allclose(param, 1.9760959, rtol=0, atol=5e-7)
