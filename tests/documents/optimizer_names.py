"""What other libraries call each option of optimizers, schedules and training: the table.

    python tests/documents/optimizer_names.py

writes nets/optimizers/README.md. `test_optimizer_names.py` holds it to the libraries.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).resolve().parents[2] / "nets" / "optimizers" / "README.md"
VERSIONS = {
    "torch": "PyTorch 2.13.0",
    "keras": "Keras 3.15.1",
    "optax": "optax 0.2.8",
    "sklearn": "scikit-learn 1.9.1",
}
"""With these the names and defaults were compared last."""


class Whole(str):
    """A cell that is no option of its section's function: a name or a call of its own."""

    __slots__ = ()


class Row(NamedTuple):
    """An option: a name, or `name=default`; empty where there is none."""

    here: str = ""
    torch: str = ""
    keras: str = ""
    optax: str = ""
    sklearn: str = ""
    note: str = ""


LIBRARIES = Row._fields[:-1]


@dataclass(frozen=True)
class Section:
    """A class or function, what others call it, and its options."""

    name: Row
    options: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Chapter:
    title: str
    text: str
    sections: list[Section]


class Call(NamedTuple):
    """`path(name, name=value)` taken apart: path, and the value of each argument or `...`."""

    path: str
    arguments: dict[str, Any]


def option(cell: str) -> tuple[str, Any]:
    """A cell's name and default, `...` where none is told."""
    name, equals, value = cell.partition("=")
    return name, ast.literal_eval(value) if equals else ...


def call(cell: str) -> Call:
    """A cell that is a whole call, or only a path."""
    found = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", cell)
    assert found, f"{cell!r} is no call"
    tree = ast.parse(f"f({found[2] or ''})", mode="eval").body
    assert isinstance(tree, ast.Call)
    names = {ast.unparse(each): ... for each in tree.args}
    return Call(
        found[1], names | {str(each.arg): ast.unparse(each.value) for each in tree.keywords}
    )


LR = Row("lr=0.001", "lr=0.001", "learning_rate=0.001", "learning_rate", "learning_rate_init=0.001")
BETA_1 = Row("betas=(0.9, 0.999)", "betas=(0.9, 0.999)", "beta_1=0.9", "b1=0.9", "beta_1=0.9")
BETA_2 = Row("betas=(0.9, 0.999)", "betas=(0.9, 0.999)", "beta_2=0.999", "b2=0.999", "beta_2=0.999")
EPS = Row("eps=1e-08", "eps=1e-08", "epsilon=1e-07", "eps=1e-08", "epsilon=1e-08")
UNCORRECTED = Row(
    "eps_uncorrected=False",
    note="True is what Keras and scikit-learn do: eps beside the root of v before its correction",
)
EPS_ROOT = Row(optax="eps_root=0.0", note="inside the root; not here")
MU_DTYPE = Row(optax="mu_dtype=None", note="states have the parameters' dtype here")
ACCUMULATOR_DTYPE = Row(optax="accumulator_dtype=None", note=MU_DTYPE.note)
NESTEROV_ADAM = Row(Whole("NAdam"), "", "", "nesterov=False", note="a rule of its own here")


def no_sklearn(row: Row) -> Row:
    return row._replace(sklearn="")


def of_adam(lr: Row, eps: Row = EPS, sklearn: bool = False) -> list[Row]:
    rows = [lr, BETA_1, BETA_2, eps]
    return rows if sklearn else [no_sklearn(row) for row in rows]


OPTIMIZERS = Chapter(
    "Optimizers",
    "`betas` is one pair here and in PyTorch. What all of them have is in the next table.",
    [
        Section(
            Row("SGD", "SGD", "SGD", "sgd", "MLPClassifier(solver='sgd', momentum=0)"),
            [
                LR._replace(here="lr=0.01", keras="learning_rate=0.01"),
                Row(
                    Whole("Momentum(momentum)"),
                    "momentum=0",
                    "momentum=0.0",
                    "momentum=None",
                    note="a rule of its own here",
                ),
                Row(Whole("Momentum(dampening)"), "dampening=0"),
                Row(Whole("Momentum(nesterov)"), *["nesterov=False"] * 3),
                ACCUMULATOR_DTYPE,
            ],
        ),
        Section(
            Row("Momentum", "SGD", "SGD", "sgd", "MLPClassifier(solver='sgd')"),
            [
                LR._replace(here="lr=0.01", keras="learning_rate=0.01"),
                Row("momentum=0.9", "momentum=0", "momentum=0.0", "momentum=None", "momentum=0.9"),
                Row(
                    "form='heavy-ball'",
                    note="'heavy-ball' is PyTorch's and optax', 'velocity' Keras' and "
                    "scikit-learn's: the same steps while lr stays",
                ),
                Row("nesterov=False", *["nesterov=False"] * 3, "nesterovs_momentum=True"),
                Row("dampening=0.0", "dampening=0", note="not in the first step, as in PyTorch"),
                ACCUMULATOR_DTYPE,
            ],
        ),
        Section(
            Row("AdaGrad", "Adagrad", "Adagrad", "adagrad"),
            [
                no_sklearn(LR._replace(here="lr=0.01", torch="lr=0.01")),
                Row(
                    "eps=1e-10",
                    "eps=1e-10",
                    "epsilon=1e-07",
                    "eps=1e-07",
                    note="Keras and optax: inside the root, as eps=0 with "
                    "initial_accumulator_value + eps",
                ),
                Row("lr_decay=0.0", "lr_decay=0"),
                Row(
                    "initial_accumulator_value=0.0",
                    "initial_accumulator_value=0",
                    "initial_accumulator_value=0.1",
                    "initial_accumulator_value=0.1",
                ),
            ],
        ),
        Section(
            Row("RMSprop", "RMSprop", "RMSprop", "rmsprop"),
            [
                no_sklearn(LR._replace(here="lr=0.01", torch="lr=0.01")),
                Row("alpha=0.99", "alpha=0.99", "rho=0.9", "decay=0.9"),
                Row("eps=1e-08", "eps=1e-08", "epsilon=1e-07", "eps=1e-08"),
                Row(
                    "eps_inside_sqrt=False",
                    optax="eps_in_sqrt=True",
                    note="False is what PyTorch does, True what Keras does",
                ),
                Row("momentum=0.0", "momentum=0", "momentum=0.0", "momentum=None"),
                Row("centered=False", "centered=False", "centered=False", "centered=False"),
                Row(optax="initial_scale=0.0", note="not here"),
                Row(optax="nesterov=False", note="not here"),
                Row(optax="bias_correction=False", note="not here"),
            ],
        ),
        Section(
            Row("Adam", "Adam", "Adam", "adam", "MLPClassifier(solver='adam')"),
            [
                *of_adam(LR, sklearn=True),
                UNCORRECTED,
                Row(
                    Whole("AMSGrad"),
                    "amsgrad=False",
                    "amsgrad=False",
                    note="a rule of its own here",
                ),
                Row("decoupled", "decoupled_weight_decay=False"),
                NESTEROV_ADAM,
                EPS_ROOT,
                MU_DTYPE,
            ],
        ),
        Section(
            Row("AdamW", "AdamW", "AdamW", "adamw"),
            [
                *of_adam(LR),
                UNCORRECTED,
                Row(
                    "weight_decay=0.01",
                    "weight_decay=0.01",
                    "weight_decay=0.004",
                    "weight_decay=0.0001",
                ),
                Row("decoupled=True"),
                Row("no_decay", optax="mask=None", note="no_decay tells which don't decay"),
                Row(Whole("AMSGrad(decoupled=True)"), "amsgrad=False", "amsgrad=False"),
                NESTEROV_ADAM,
                EPS_ROOT,
                MU_DTYPE,
            ],
        ),
        Section(
            Row("AMSGrad", "Adam(amsgrad=True)", "Adam(amsgrad=True)", "amsgrad"),
            [
                *of_adam(
                    LR._replace(
                        note="optax takes the maximum of the corrected average: other steps"
                    )
                ),
                UNCORRECTED,
                EPS_ROOT,
                MU_DTYPE,
                Row(optax="bias_correction_mu=True", note="always here"),
                Row(optax="bias_correction_nu=True", note="always here"),
            ],
        ),
        Section(
            Row("NAdam", "NAdam", "Nadam", "nadam"),
            [
                *of_adam(LR._replace(here="lr=0.002", torch="lr=0.002")),
                Row(
                    "momentum_decay=0.004",
                    "momentum_decay=0.004",
                    note="Keras has 1; optax keeps b1 in all steps: other steps",
                ),
                Row("decoupled", "decoupled_weight_decay=False"),
                Row(optax="nesterov=True", note="always here"),
                EPS_ROOT,
                MU_DTYPE,
            ],
        ),
        Section(
            Row("RAdam", "RAdam", "", "radam"),
            [
                *[
                    row._replace(keras="")
                    for row in of_adam(LR, EPS._replace(note="optax: beside the corrected root"))
                ],
                Row("decoupled", "decoupled_weight_decay=False"),
                Row(optax="threshold=5.0", note="5 here and in PyTorch"),
                Row(optax="nesterov=False", note="not here"),
                EPS_ROOT,
            ],
        ),
        Section(
            Row("Adamax", "Adamax", "Adamax", "adamax"),
            of_adam(
                LR._replace(here="lr=0.002", torch="lr=0.002"),
                EPS._replace(note="Keras: beside u where it divides"),
            ),
        ),
        Section(
            Row("Adadelta", "Adadelta", "Adadelta", "adadelta"),
            [
                no_sklearn(LR._replace(here="lr=1.0", torch="lr=1.0", optax="learning_rate=None")),
                Row("rho=0.9", "rho=0.9", "rho=0.95", "rho=0.9"),
                Row("eps=1e-06", "eps=1e-06", "epsilon=1e-07", "eps=1e-06"),
                Row("no_decay", optax="weight_decay_mask=None"),
            ],
        ),
        Section(
            Row("Lion", "", "Lion", "lion"),
            [
                Row("lr=0.0001", "", "learning_rate=0.001", "learning_rate"),
                Row("betas=(0.9, 0.99)", "", "beta_1=0.9", "b1=0.9"),
                Row("betas=(0.9, 0.99)", "", "beta_2=0.99", "b2=0.99"),
                Row("decoupled=True"),
                Row("no_decay", optax="mask=None", note="no_decay tells which don't decay"),
                MU_DTYPE,
            ],
        ),
    ],
)

COMMON = Chapter(
    "Options of all optimizers",
    "",
    [
        Section(
            Row("Optimizer", "Optimizer", "Optimizer"),
            [
                Row(
                    "weight_decay=0.0",
                    Whole("Adam(weight_decay=0)"),
                    "weight_decay=None",
                    Whole("add_decayed_weights(weight_decay=0.0)"),
                    Whole("MLPClassifier(alpha=0.0001)"),
                    "Keras' is decoupled; scikit-learn's is of weights alone, and divided by the "
                    "samples of a batch",
                ),
                Row(
                    "decoupled=False",
                    Whole("Adam(decoupled_weight_decay=False)"),
                    note="True is what Keras does everywhere; optax: by the place in the chain",
                ),
                Row("maximize=False", Whole("Adam(maximize=False)"), "", Whole("scale(step_size)")),
                Row(
                    "clip_norm=None",
                    Whole("clip_grad_norm_(max_norm)"),
                    "global_clipnorm=None",
                    Whole("clip_by_global_norm(max_norm)"),
                ),
                Row("clip_each_norm=None", "", "clipnorm=None"),
                Row(
                    "clip_value=None",
                    Whole("clip_grad_value_(clip_value)"),
                    "clipvalue=None",
                    Whole("clip(max_delta)"),
                ),
                Row("use_ema=False", Whole("AveragedModel(multi_avg_fn)"), "use_ema=False"),
                Row(
                    "ema_momentum=0.99",
                    Whole("get_ema_multi_avg_fn(decay=0.999)"),
                    "ema_momentum=0.99",
                    Whole("incremental_update(step_size)"),
                    note="optax' is 1 - ema_momentum",
                ),
                Row(keras="ema_overwrite_frequency=None", note="averaged() here, when asked"),
                Row(
                    Whole("Optimizer.averaged"),
                    Whole("AveragedModel.forward"),
                    Whole("SwapEMAWeights"),
                ),
                Row(
                    "swa_start=None",
                    Whole("AveragedModel"),
                    "",
                    "",
                    Whole("SGDClassifier(average=False)"),
                ),
                Row("swa_every=1", Whole("AveragedModel.update_parameters")),
                Row(
                    "groups=None",
                    Whole("Optimizer.add_param_group"),
                    "",
                    Whole("partition(transforms, param_labels)"),
                    note="PyTorch's list of dicts is taken as params, too",
                ),
                Row(
                    Whole("fit(schedule)"),
                    "",
                    "learning_rate",
                    Whole("sgd(learning_rate)"),
                    note="schedules are learning rates there",
                ),
                Row(Whole("Optimizer.param_groups"), note="PyTorch's name"),
                Row(
                    "no_decay=None",
                    "",
                    Whole("Optimizer.exclude_from_weight_decay(var_list, var_names)"),
                    Whole("add_decayed_weights(mask)"),
                    note="PyTorch: a group with weight_decay=0",
                ),
                Row(
                    "frozen=None",
                    Whole("torch.Tensor.requires_grad_"),
                    Whole("keras.Layer.trainable"),
                    Whole("freeze(mask)"),
                ),
                Row(
                    "state_format='float32'",
                    note="of states: bitsandbytes has Adam8bit beside Adam, torchao AdamW8bit and "
                    "AdamW4bit",
                ),
                Row("state_format_by_name=None", note="bitsandbytes: GlobalOptimManager"),
                Row("block_size=256", note="as in bitsandbytes and torchao"),
                Row("min_8bit_size=4096", note="as in bitsandbytes and torchao"),
                Row("rounding_seed=0", note="of noise: others round to the nearest"),
                Row(
                    "engine='auto'",
                    Whole("Adam(foreach, fused, capturable, differentiable)"),
                    note="steps take the same numbers on all",
                ),
                Row(
                    Whole("Optimizer.step(grad_scale)"),
                    "",
                    "loss_scale_factor=None",
                    Whole("scale(step_size)"),
                ),
                Row(
                    Whole("fit(accumulate)"),
                    "",
                    "gradient_accumulation_steps=None",
                    Whole("MultiSteps"),
                ),
                Row(
                    Whole("load_torch_optimizer_state(state)"),
                    Whole("Optimizer.load_state_dict(state_dict)"),
                    note="and torch_optimizer_state, to PyTorch",
                ),
            ],
        ),
    ],
)

TRAINING = Chapter(
    "Accumulated gradients, and scaling of float16's",
    "",
    [
        Section(
            Row("fit", "", "", "MultiSteps"),
            [
                Row("accumulate=1", "", "", "every_k_schedule"),
                Row(
                    "schedule=None",
                    keras=Whole("SGD(learning_rate)"),
                    optax=Whole("sgd(learning_rate)"),
                ),
                Row("loss_scaler=None"),
                Row(optax="use_grad_mean=True", note="the mean of all samples here"),
                Row(
                    optax="should_skip_update_fn=None",
                    note="LossScaler leaves out steps with inf or NaN",
                ),
                Row(optax="accumulator_dtype", note="the parameters' here"),
            ],
        ),
        Section(
            Row("LossScaler", "GradScaler", "LossScaleOptimizer", "apply_if_finite"),
            [
                Row("init_scale=65536.0", "init_scale=65536.0", "initial_scale=32768.0"),
                Row("growth_factor=2.0", "growth_factor=2.0"),
                Row("backoff_factor=0.5", "backoff_factor=0.5"),
                Row("growth_interval=2000", "growth_interval=2000", "dynamic_growth_steps=2000"),
                Row(torch="enabled=True", note="leave the scaler out"),
                Row(optax="max_consecutive_errors", note="any number here"),
            ],
        ),
    ],
)

LR0 = Row("lr0", "", "initial_learning_rate", "init_value")
PER = Row("per", note="'step' or 'epoch'; elsewhere: when its step is called")
LENGTH = Row("length", "total_iters=5", "decay_steps", "transition_steps")
SCHEDULES = Chapter(
    "Schedules",
    "PyTorch's take the first rate from the optimizer.",
    [
        Section(
            Row("InverseTimeDecay", "", "InverseTimeDecay"),
            [
                LR0._replace(optax=""),
                Row("decay", "", "decay_rate", note="Keras: decay = decay_rate / decay_steps"),
                Row(keras="decay_steps"),
                Row(keras="staircase=False", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("ExponentialDecay", "ExponentialLR", "ExponentialDecay", "exponential_decay"),
            [
                LR0,
                Row(
                    "base=0.95",
                    "gamma",
                    "decay_rate",
                    "decay_rate",
                    note="Keras, optax: base = decay_rate^(1 / decay_steps)",
                ),
                Row("", "", "decay_steps", "transition_steps"),
                Row(Whole("Staircase"), "", "staircase=False", "staircase=False"),
                Row(Whole("Chain"), optax="transition_begin=0"),
                Row(optax="end_value=None", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("InverseSqrtDecay", "", "", "", "MLPClassifier(learning_rate='invscaling')"),
            [
                LR0._replace(keras="", optax="", sklearn="learning_rate_init=0.001"),
                Row("k=1.0", note="scikit-learn counts samples, with the power power_t=0.5"),
                PER,
            ],
        ),
        Section(
            Row("Staircase", "StepLR", "ExponentialDecay", "exponential_decay"),
            [
                LR0,
                Row("factor=0.5", "gamma=0.1", "decay_rate", "decay_rate"),
                Row("every=10", "step_size", "decay_steps", "transition_steps"),
                Row("", "", "staircase=False", "staircase=False", note="True there"),
                Row(Whole("Chain"), optax="transition_begin=0"),
                Row(optax="end_value=None", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("Manual", "MultiStepLR", "PiecewiseConstantDecay", "piecewise_constant_schedule"),
            [
                Row("rates", "milestones", "boundaries", "boundaries_and_scales=None"),
                Row("rates", "gamma=0.1", "values", "init_value"),
                Row("rates", Whole("LambdaLR(lr_lambda)"), note="a function is taken, too"),
                PER,
            ],
        ),
        Section(
            Row("LinearDecay", "LinearLR", "PolynomialDecay", "linear_schedule"),
            [
                LR0._replace(torch="start_factor=0.3333333333333333"),
                LENGTH,
                Row("end=0.0", "end_factor=1.0", "end_learning_rate=0.0001", "end_value"),
                Row(Whole("Polynomial(power)"), keras="power=1.0"),
                Row(Whole("Chain"), optax="transition_begin=0"),
                Row(keras="cycle=False", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("Polynomial", "PolynomialLR", "PolynomialDecay", "polynomial_schedule"),
            [
                LR0,
                LENGTH,
                Row("end=0.0", "", "end_learning_rate=0.0001", "end_value"),
                Row("power=1.0", "power=1.0", "power=1.0", "power"),
                Row(Whole("Chain"), optax="transition_begin=0"),
                Row(keras="cycle=False", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("Cosine", "CosineAnnealingLR", "CosineDecay", "cosine_decay_schedule"),
            [
                LR0,
                Row("length", "T_max", "decay_steps", "decay_steps"),
                Row(
                    "end=0.0",
                    "eta_min=0.0",
                    "alpha=0.0",
                    "alpha=0.0",
                    note="Keras, optax: alpha = end / lr0",
                ),
                Row(Whole("Warmup"), "", "warmup_steps=0"),
                Row(Whole("Warmup"), "", "warmup_target=None"),
                Row(optax="exponent=1.0", note="not here"),
                PER,
            ],
        ),
        Section(
            Row(
                "CosineRestarts",
                "CosineAnnealingWarmRestarts",
                "CosineDecayRestarts",
                "sgdr_schedule",
            ),
            [
                LR0._replace(optax=""),
                Row("period", "T_0", "first_decay_steps", "cosine_kwargs"),
                Row("growth=1", "T_mult=1", "t_mul=2.0"),
                Row("end=0.0", "eta_min=0.0", "alpha=0.0", note="Keras: alpha = end / lr0"),
                Row(keras="m_mul=1.0", note="not here"),
                PER,
            ],
        ),
        Section(
            Row("OneCycle", "OneCycleLR", "", "cosine_onecycle_schedule"),
            [
                Row("max_lr", "max_lr", "", "peak_value"),
                Row("length", "total_steps=None", "", "transition_steps"),
                Row("length", "epochs=None"),
                Row("length", "steps_per_epoch=None"),
                Row("pct_start=0.3", "pct_start=0.3", "", "pct_start=0.3"),
                Row(
                    "anneal_strategy='cos'",
                    "anneal_strategy='cos'",
                    optax=Whole("linear_onecycle_schedule"),
                    note="or 'linear', which is a function of its own in optax",
                ),
                Row("div_factor=25.0", "div_factor=25.0", "", "div_factor=25.0"),
                Row(
                    "final_div_factor=10000.0",
                    "final_div_factor=10000.0",
                    optax="final_div_factor=10000.0",
                ),
                Row("three_phase=False", "three_phase=False"),
                Row(torch="cycle_momentum=True", note="momentum stays here"),
                Row(torch="base_momentum=0.85", note="momentum stays here"),
                Row(torch="max_momentum=0.95", note="momentum stays here"),
                PER,
            ],
        ),
        Section(
            Row("Warmup", "LinearLR", "", "warmup_constant_schedule"),
            [
                Row("length", "total_iters=5", Whole("CosineDecay(warmup_steps)"), "warmup_steps"),
                Row("lr=None", "end_factor=1.0", Whole("CosineDecay(warmup_target)"), "peak_value"),
                Row("start=None", "start_factor=0.3333333333333333", "", "init_value"),
                Row(
                    Whole("Chain"),
                    optax=Whole("warmup_cosine_decay_schedule"),
                    note="Warmup(...).then(Cosine)",
                ),
                PER,
            ],
        ),
        Section(
            Row("Chain", "SequentialLR", "", "join_schedules"),
            [
                Row("schedules", "schedulers", "", "schedules"),
                Row("milestones=None", "milestones", "", "boundaries"),
            ],
        ),
        Section(
            Row(
                "ReduceOnPlateau",
                "ReduceLROnPlateau",
                "ReduceLROnPlateau",
                "reduce_on_plateau",
                "MLPClassifier(learning_rate='adaptive')",
            ),
            [
                Row("monitor='val_loss'", "", "monitor='val_loss'"),
                Row(
                    "factor=0.1",
                    "factor=0.1",
                    "factor=0.1",
                    "factor=0.1",
                    note="0.2 in scikit-learn",
                ),
                Row(
                    "patience=10",
                    "patience=10",
                    "patience=10",
                    "patience=10",
                    "n_iter_no_change=10",
                    "Keras' 10 is 9 here",
                ),
                Row(
                    "threshold=0.0001", "threshold=0.0001", "min_delta=0.0001", "rtol=0.0001"
                )._replace(sklearn="tol=0.0001"),
                Row(
                    "threshold_mode='rel'",
                    "threshold_mode='rel'",
                    optax="atol=0.0",
                    note="Keras and scikit-learn: 'abs'",
                ),
                Row("mode='auto'", "mode='min'", "mode='auto'"),
                Row("cooldown=0", "cooldown=0", "cooldown=0", "cooldown=0"),
                Row("min_lr=0.0", "min_lr=0", "min_lr=0.0", "min_scale=0.0"),
                Row(torch="eps=1e-08", note="every change counts here"),
                Row(keras="verbose=0", note="the history has the rates here"),
                Row(optax="accumulation_size=1", note="epochs here"),
            ],
        ),
    ],
)

CHAPTERS = [OPTIMIZERS, COMMON, TRAINING, SCHEDULES]

HEAD = f"""# Names of options here and elsewhere

What PyTorch, Keras, optax and scikit-learn call each optimizer, option and schedule, and what it is
here. An option stands with its default, where it has one. Names and defaults were compared with
{", ".join([*VERSIONS.values()][:-1])} and {[*VERSIONS.values()][-1]}; golden values of Keras' and
PyTorch's own tests come out with options translated so
(`tests/nets/optimizers/test_golden_values.py`).

`python tests/documents/optimizer_names.py` writes this file.
"""
TITLES = "onepass.nets", "PyTorch", "Keras", "optax", "scikit-learn", ""


def _line(cells: Any) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _code(cell: str, strong: bool = False) -> str:
    shown = f"`{cell}`" if cell else ""
    return f"**{shown}**" if strong and shown else shown


def document() -> str:
    """The file's text."""
    lines = [HEAD]
    for chapter in CHAPTERS:
        lines += [f"## {chapter.title}", ""]
        lines += [chapter.text, ""] if chapter.text else []
        lines += [_line(TITLES), "|" + "---|" * len(TITLES)]
        for section in chapter.sections:
            *names, note = section.name
            lines.append(_line([*(_code(name, strong=True) for name in names), note]))
            for *cells, note in section.options:
                lines.append(_line([*map(_code, cells), note]))
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
    print(f"wrote {FILE}")
