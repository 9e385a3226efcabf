"""Fused kernels: optimizer steps, in place in one pass over memory, batch norm, and the loss."""

from .activation import ACTIVATIONS as ACTIVATIONS
from .activation import activation_backward, activation_forward
from .batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
    fold_batch_norm,
)
from .compile_ahead import warmup
from .crew.threads import get_num_threads, set_num_threads
from .engine_table import EngineStatus, engines
from .gradient_norm import global_norm
from .hyperparameters import validate
from .inverted_dropout import dropout
from .norms import (
    group_norm_backward,
    group_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
    rms_norm_backward,
    rms_norm_forward,
)
from .products import matmul as matmul
from .rules import in_order as in_order
from .rules import prepare as prepare
from .rules.adadelta import adadelta_step
from .rules.adagrad import adagrad_step
from .rules.adam import adam_step
from .rules.adamax import adamax_step
from .rules.amsgrad import amsgrad_step
from .rules.lion import lion_step
from .rules.momentum import momentum_step
from .rules.nadam import nadam_product as nadam_product
from .rules.nadam import nadam_step
from .rules.radam import radam_step
from .rules.rmsprop import rmsprop_step
from .rules.sgd import sgd_step
from .softmax import softmax_cross_entropy
from .state_formats.formats import (
    decode_state,
    encode_state,
    join_param,
    split_param,
    zero_state,
)
from .state_formats.state8bit import State8bit

__all__ = [
    "EngineStatus",
    "State8bit",
    "activation_backward",
    "activation_forward",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "amsgrad_step",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "decode_state",
    "dropout",
    "encode_state",
    "engines",
    "fold_batch_norm",
    "get_num_threads",
    "global_norm",
    "group_norm_backward",
    "group_norm_forward",
    "join_param",
    "layer_norm_backward",
    "layer_norm_forward",
    "lion_step",
    "momentum_step",
    "nadam_step",
    "radam_step",
    "rms_norm_backward",
    "rms_norm_forward",
    "rmsprop_step",
    "set_num_threads",
    "sgd_step",
    "softmax_cross_entropy",
    "split_param",
    "validate",
    "warmup",
    "zero_state",
]
