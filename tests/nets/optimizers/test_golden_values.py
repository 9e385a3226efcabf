"""Numbers that Keras' and PyTorch's own tests hold come out here, with the options translated."""

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


def numbers(text):
    """Those in a text, which are easier to compare with their source so."""
    return [*map(float, text.split())]


# --- Keras 3.15.1 ---------------------------------------------------------------------------------
# keras/src/optimizers/*_test.py, test_correctness_with_golden and test_single_step: ten ones are
# stepped with a gradient of 0.01, then with 0.1, 0.2, ..., 1.0; values after each of five steps. Or
# 1, 2, 3, 4 are stepped once with 1, 6, 7, 2. Digits are Keras'.
# name -> (optimizer, options here for those there, values)
KERAS = {
    "sgd_test": (SGD, {"lr": 0.01}, 0.9999 - 0.001 * np.outer(range(5), range(1, 11))),
    "rmsprop_test, centered": (
        RMSprop,
        {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_inside_sqrt": True, "centered": True},
        [0.9967, 0.9933, 0.9908, 0.9885, 0.9864],
    ),
    "adam_test, amsgrad": (
        AMSGrad,
        {"lr": 1e-3, "eps": 1e-7, "eps_uncorrected": True},
        [0.999, 0.9982, 0.9974, 0.9965, 0.9955],
    ),
    "adamw_test": (
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
    "adagrad_test": (  # eps is beside the sum in the root there: a part of the initial value
        AdaGrad,
        {"lr": 0.2, "initial_accumulator_value": 0.3 + 1e-6, "eps": 0.0},
        [
            [0.9963] * 10,
            [0.9604, 0.9278, 0.9003, 0.8784, 0.8615, 0.8487, 0.8388, 0.8313, 0.8255, 0.8209],
            [0.9251, 0.8629, 0.8137, 0.7768, 0.7497, 0.7298, 0.7151, 0.704, 0.6956, 0.6891],
            [0.8903, 0.8012, 0.7342, 0.6862, 0.6521, 0.6277, 0.6099, 0.5967, 0.5867, 0.579],
            [0.856, 0.7422, 0.6604, 0.6037, 0.5644, 0.5367, 0.5168, 0.5021, 0.491, 0.4825],
        ],
    ),
    "adadelta_test": (
        Adadelta,
        {"lr": 1.0, "rho": 0.8, "eps": 1e-6},
        [0.9978, 0.9947, 0.9915, 0.9882, 0.9849],
    ),
    "adamax_test": (
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
    "nadam_test": (
        NAdam,
        {"lr": 0.5, "betas": (0.5, 0.67), "eps": 1e-5, "momentum_decay": 1.0},
        [
            [0.4281] * 10,
            numbers(
                "-0.1738 -0.1731 -0.1726 -0.1723 -0.1721 -0.172 -0.1719 -0.1718 -0.1718 -0.1717"
            ),
            numbers(
                "-0.7115 -0.7103 -0.7096 -0.7092 -0.709 -0.7088 -0.7086 -0.7085 -0.7085 -0.7084"
            ),
            numbers(
                "-1.2335 -1.2322 -1.2313 -1.2309 -1.2306 -1.2304 -1.2302 -1.2301 -1.23 -1.2299"
            ),
            numbers(
                "-1.7492 -1.7478 -1.7469 -1.7464 -1.7461 -1.7459 -1.7457 -1.7456 -1.7455 -1.7454"
            ),
        ],
    ),
    "lion_test": (Lion, {"lr": 1e-3}, [0.999, 0.998, 0.997, 0.996, 0.995]),
}
KERAS_ONCE = {
    "sgd_test": (SGD, {"lr": 0.5}, [0.5, -1.0, -0.5, 3.0]),
    "rmsprop_test": (
        RMSprop,
        {"lr": 0.5, "alpha": 0.9, "eps": 1e-7, "eps_inside_sqrt": True},
        [-0.5811, 0.4189, 1.4189, 2.4189],
    ),
    "adam_test": (
        Adam,
        {"lr": 0.5, "eps": 1e-7, "eps_uncorrected": True},
        [0.5, 1.5, 2.5, 3.5],
    ),
    "adamw_test": (
        AdamW,
        {"lr": 0.5, "weight_decay": 0.004, "eps": 1e-7, "eps_uncorrected": True},
        [0.4980, 1.4960, 2.494, 3.492],
    ),
    "adagrad_test": (
        AdaGrad,
        {"lr": 0.5, "initial_accumulator_value": 0.1 + 1e-7, "eps": 0.0},
        [0.5233, 1.5007, 2.5005, 3.5061],
    ),
    "adadelta_test": (
        Adadelta,
        {"lr": 0.5, "rho": 0.95, "eps": 1e-7},
        [0.9993, 1.9993, 2.9993, 3.9993],
    ),
    "adamax_test": (Adamax, {"lr": 0.5, "eps": 1e-7}, [0.5, 1.5, 2.5, 3.5]),
    "nadam_test": (
        NAdam,
        {"lr": 0.5, "eps": 1e-7, "momentum_decay": 1.0},
        [0.4686, 1.4686, 2.4686, 3.4686],
    ),
    "lion_test": (Lion, {"lr": 0.5}, [0.5, 1.5, 2.5, 3.5]),
}
LAST_DIGIT = {"rtol": 0, "atol": 6e-5}  # half of the last digit, and float32's rounding
ONE_FOR_TEN = {"rtol": 0, "atol": 1.5e-4}  # a number for ten elements that differ a little


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", KERAS)
def test_keras_golden_values_come_out(engine, case, dtype):
    kind, options, golden = KERAS[case]
    x = engine.asarray(np.ones(10, dtype))
    optimizer = kind([x], **options, engine=engine.name)
    gradients = [np.full(10, 0.01), *[np.arange(1, 11) / 10] * 4]
    for gradient, expected in zip(gradients, golden, strict=True):
        optimizer.step([engine.asarray(gradient.astype(dtype))])
        tolerance = LAST_DIGIT if np.ndim(expected) else ONE_FOR_TEN
        np.testing.assert_allclose(engine.to_numpy(x), expected, **tolerance)


@pytest.mark.parametrize("case", KERAS_ONCE)
def test_keras_single_steps_come_out(engine, case):
    kind, options, expected = KERAS_ONCE[case]
    x = engine.asarray(np.array([1.0, 2.0, 3.0, 4.0], "float32"))
    gradient = engine.asarray(np.array([1.0, 6.0, 7.0, 2.0], "float32"))
    kind([x], **options, engine=engine.name).step([gradient])
    np.testing.assert_allclose(engine.to_numpy(x), expected, **LAST_DIGIT)


@pytest.mark.parametrize(
    "kind", [SGD, RMSprop, Adam, AdamW, AdaGrad, Adadelta, Adamax, NAdam, Lion]
)
def test_keras_weight_decay_is_decoupled_everywhere(engine, kind):
    """test_weight_decay of each file: three optimizers there step var1, and one leaves it out."""
    decayed, left = (engine.asarray(np.array([2.0], "float32")) for _ in range(2))
    zero = engine.asarray(np.zeros(1, "float32"))
    options = {"lr": 1.0, "weight_decay": 0.004, "decoupled": True, "engine": engine.name}
    optimizer = kind({"var": decayed, "exclude": left}, no_decay="exclude", **options)
    for _ in range(3):
        optimizer.step({"var": zero, "exclude": zero})
    np.testing.assert_allclose(engine.to_numpy(decayed), [1.9760959], atol=5e-7)
    np.testing.assert_array_equal(engine.to_numpy(left), [2.0])


# --- PyTorch --------------------------------------------------------------------------------------
# test/cpp/api/optim_baseline.h, which test/cpp/api/optim_baseline.py writes: two layers with
# sigmoids go down the sum of their outputs. 0.weight, 0.bias, 2.weight and 2.bias after 101 steps
# (the second sample), from where that program starts. (optim.cpp starts from four digits of it.)
START = numbers(
    "-0.21089885683388707 -0.4975560466422629 -0.1412921620247176 -0.3420288967865903 "
    "-0.2523635082803723 0.6975570255493778 -0.10853121966252376 -0.297948499687533 "
    "0.6892015099955718 -0.05080313011597654 -0.3941351875105899 -0.28433759745928844 "
    "-0.07113812430174121"
)
TORCH_SHAPES = (3, 2), (3,), (1, 3), (1,)
TORCH = {
    "Adam": (
        Adam,
        {"lr": 1.0},
        [
            [8.233039313231828, 7.971150747377481, 6.6436209506776],
            [6.470977407900541, 6.170125488259256, 7.1507391033435015],
            [8.417695070103735, 6.597188212844593, 7.23175710827678],
            [-6.729624357635757, -7.09743493108154, -6.753301896575352, -6.435639096011218],
        ],
    ),
    "Adam_with_weight_decay": (
        Adam,
        {"lr": 1.0, "weight_decay": 1e-2},
        [
            [0.17835734655765323, 0.2542117171890537, 0.19681971909229715],
            [0.23522651199260597, 0.17806083719648957, 0.22943655675307303],
            [0.6227676931552837, 0.6058596954431213, 0.6077176546857177],
            [-1.4259755901844118, -1.4333355461952704, -1.408545526635006, -2.0710783081666215],
        ],
    ),
    "Adam_with_weight_decay_and_amsgrad": (
        AMSGrad,
        {"lr": 1.0, "weight_decay": 1e-6},
        [
            [6.790598887618061, 6.914995398136696, 6.41533478566264],
            [6.297644005485053, 5.845162499872375, 6.862229173597117],
            [7.958707058914726, 6.511338624975532, 7.100969502256063],
            [-6.690689640539306, -7.056584601121166, -6.72114879738572, -6.406608295022552],
        ],
    ),
    "AdamW": (
        AdamW,
        {"lr": 1.0},
        [
            [3.3165329599188507, 3.223120441823618, 2.665544565239194],
            [2.6044341406663225, 2.479859063483047, 2.836831717112226],
            [3.3885192024669744, 2.6544147219174556, 2.8709245656887328],
            [-2.70172647102137, -2.836731459490802, -2.69652471546253, -2.575239255076019],
        ],
    ),
    "AdamW_with_amsgrad": (
        AMSGrad,
        {"lr": 1.0, "weight_decay": 1e-2, "decoupled": True},
        [
            [3.3017259270507915, 3.2082991753694565, 2.653930978510442],
            [2.5927674339810585, 2.4689608790182933, 2.825873703467739],
            [3.373698198112671, 2.6425942964586664, 2.8597930424244304],
            [-2.690360632302962, -2.8253191596069525, -2.6855499873057473, -2.5644658591929406],
        ],
    ),
    "Adagrad": (
        AdaGrad,
        {"lr": 1.0},
        [
            [2.4079229696892583, 2.2346803754764286, 1.6967885588547365],
            [1.552279695827649, 1.2259044248443602, 2.221279696180243],
            [2.9334079162217193, 1.7619824934767887, 2.3464577179091473],
            [-2.221396083069719, -2.549950976011168, -1.9709315957317095, -1.5858816837541876],
        ],
    ),
    "Adagrad_with_weight_decay": (
        AdaGrad,
        {"lr": 1.0, "weight_decay": 1e-2},
        [
            [0.1846116678522213, 0.24944077103107917, 0.18651745437755768],
            [0.25219093533041764, 0.18712037968446713, 0.25289206444055234],
            [0.6482869597891656, 0.6580215784646755, 0.6581256007663537],
            [-1.454709711443681, -1.4748063405174818, -1.4811625946604765, -1.905292836544363],
        ],
    ),
    "Adagrad_with_weight_decay_and_lr_decay": (
        AdaGrad,
        {"lr": 1.0, "weight_decay": 1e-6, "lr_decay": 1e-3},
        [
            [2.346218944110103, 2.191939439502003, 1.683355201740813],
            [1.5405520021635604, 1.2137800230828062, 2.205283463717303],
            [2.9090564593404, 1.7509657336815554, 2.336166413186925],
            [-2.206159683368316, -2.5344318233445415, -1.9622783535807609, -1.5796101463783623],
        ],
    ),
    "RMSprop": (
        RMSprop,
        {"lr": 0.1},
        [
            [2.448571858277443, 2.2809152044417678, 1.7346424449151965],
            [1.5940004770230667, 1.250761131839982, 2.248993270255382],
            [2.994661478530102, 1.8150485290864256, 2.382542610897819],
            [-2.3036981738757825, -2.6337299521275646, -2.018370122358821, -1.620787559800898],
        ],
    ),
    "RMSprop_with_weight_decay": (
        RMSprop,
        {"lr": 0.1, "weight_decay": 1e-2},
        [
            [0.2139892652405453, 0.2779011713353896, 0.18684802794665187],
            [0.2507569370785562, 0.19145335235130007, 0.2557687813140708],
            [0.6720959116689083, 0.6480734848064099, 0.654263007004671],
            [-1.4357633640899097, -1.4493557950073235, -1.4619011018357073, -1.9673083558727926],
        ],
    ),
    "RMSprop_with_weight_decay_and_centered": (
        RMSprop,
        {"lr": 0.1, "weight_decay": 1e-6, "centered": True},
        [
            [2.3762999876885833, 2.239095829416783, 1.726175067071914],
            [1.5891569459230444, 1.2410074108588462, 2.2345431036725723],
            [2.990896455635836, 1.8152108764849464, 2.377985429759037],
            [-2.3071822180635286, -2.636859516619699, -2.0198181394256642, -1.622583045791722],
        ],
    ),
    "RMSprop_with_weight_decay_and_centered_and_momentum": (
        RMSprop,
        {"lr": 0.1, "weight_decay": 1e-6, "centered": True, "momentum": 0.9},
        [
            [11.587263945492355, 12.552112516667206, 10.773002960161074],
            [10.782117868337808, 9.675467654064093, 10.830689360054789],
            [15.298238342006444, 11.252244653209866, 11.423905295074075],
            [-11.287147147258441, -11.673871066494183, -11.143068139029769, -10.744790465364126],
        ],
    ),
    "SGD": (
        SGD,
        {"lr": 0.1},
        [
            [-0.15543131540224012, -0.42351103963720343, -0.04196796248622072],
            [-0.2095223178068499, -0.16031407286541022, 0.8209742464453325],
            [0.07724343607160136, 0.03387529472490231, 1.0028793648054941],
            [-0.8213382425894498, -1.1570800333254736, -1.615476033165743, -1.8734090731084845],
        ],
    ),
    "SGD_with_weight_decay": (
        SGD,
        {"lr": 0.1, "weight_decay": 1e-2},
        [
            [-0.13579982290274883, -0.3765456284475787, -0.03166970700350034],
            [-0.18102559254681197, -0.1373234786735746, 0.7522156177001302],
            [0.08550003826014418, 0.051563225553454196, 0.9321399061276381],
            [-0.796312238882584, -1.1010063686038731, -1.5363716774172782, -1.8045854907382846],
        ],
    ),
    "SGD_with_weight_decay_and_momentum": (
        Momentum,
        {"lr": 0.1, "weight_decay": 1e-2, "momentum": 0.9},
        [
            [0.0056118487251954775, -0.0710915563059199, 0.07701400891926036],
            [0.047067327035013866, 0.0428654052972598, 0.4352977220593751],
            [0.23834837300214828, 0.32366382503704183, 0.7128321016634689],
            [-1.041947788394885, -1.1730950187020548, -1.7648205873351157, -2.3359277661920594],
        ],
    ),
    "SGD_with_weight_decay_and_nesterov_momentum": (
        Momentum,
        {"lr": 0.1, "weight_decay": 1e-6, "momentum": 0.9, "nesterov": True},
        [
            [-0.1262387113548655, -0.3844658218758334, 0.03124406856508884],
            [-0.11170532152425781, -0.09823268522398332, 0.9040698525178972],
            [0.17551336074135096, 0.27976614792027166, 1.2138399680985128],
            [-1.592840413595591, -1.8986806244521564, -2.966181914454827, -3.7728444542017687],
        ],
    ),
}


def gradients(params):
    """Of the sum of the outputs, by hand, in PyTorch's shapes."""
    w0, b0, w2, b2 = params
    x = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).reshape(3, 2)
    hidden = 1 / (1 + np.exp(-(x @ w0.T + b0)))
    out = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    d_out = out * (1 - out)
    d_hidden = d_out @ w2 * hidden * (1 - hidden)
    return [d_hidden.T @ x, d_hidden.sum(axis=0), d_out.T @ hidden, d_out.sum(axis=0)]


@pytest.mark.parametrize("case", TORCH)
def test_pytorch_baselines_come_out(engine, case):
    kind, options, expected = TORCH[case]
    pairs = zip(np.split(np.array(START), [6, 9, 12]), TORCH_SHAPES, strict=True)
    params = [engine.asarray(value.reshape(shape).copy()) for value, shape in pairs]
    optimizer = kind(params, **options, engine=engine.name)
    for _ in range(101):
        found = gradients([engine.to_numpy(param) for param in params])
        optimizer.step([engine.asarray(gradient) for gradient in found])
    found = np.concatenate([engine.to_numpy(param).ravel() for param in params])
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-9)
