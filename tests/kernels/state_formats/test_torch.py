"""PyTorch's tensors beside encoded states: those of bfloat16 are seen as their bits."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import as_array, kernels
from onepass.nets import Adam

torch = pytest.importorskip("torch")


def tensors():
    torch.manual_seed(0)
    return torch.randn(70, 60), torch.randn(70, 60).to(torch.bfloat16)


@pytest.mark.parametrize("state_format", ["float32", "bfloat16", "8bit"])
def test_tensors_of_bfloat16_step_as_their_numbers_do(state_format):
    values, gradient = tensors()
    param, remainder = kernels.split_param(values.numpy())
    half = torch.from_numpy(param.view(np.uint16)).view(torch.bfloat16).clone()
    rest = torch.from_numpy(remainder.copy())
    ours, theirs = (
        [kernels.zero_state(param, state_format, signed=signed) for signed in (True, False)]
        for _ in range(2)
    )
    bits = gradient.view(torch.uint16).numpy()
    for step in range(1, 4):
        kernels.adam_step(half, gradient, *theirs, step=step, remainder=rest)
        kernels.adam_step(param.view(np.uint16), bits, *ours, step=step, remainder=remainder)
    assert (half.view(torch.uint16).numpy() == param.view(np.uint16)).all()
    assert (rest.numpy() == remainder).all()


def test_an_optimizer_steps_a_modules_parameters_in_bfloat16():
    module = torch.nn.Linear(80, 60).to(torch.bfloat16)
    before = [each.detach().clone() for each in module.parameters()]
    optimizer = Adam(module.parameters(), state_format="8bit", lr=0.01)
    optimizer.step([torch.ones_like(each) for each in module.parameters()])
    for was, now in zip(before, module.parameters(), strict=True):
        moved = was.float() - now.detach().float()
        assert 0.004 < float(moved.mean()) < 0.016  # lr, as far as bfloat16 tells


def test_tensors_of_float32_are_taken_beside_encoded_states():
    values, _ = tensors()
    exact = values.clone().numpy()
    states = [kernels.zero_state(exact, "8bit", signed=signed) for signed in (True, False)]
    others = [kernels.zero_state(exact, "8bit", signed=signed) for signed in (True, False)]
    kernels.adam_step(values, torch.ones(70, 60), *states, step=1)
    kernels.adam_step(exact, np.ones((70, 60), np.float32), *others, step=1)
    assert (values.numpy() == exact).all()


def test_what_else_takes_arrays_tells_what_to_pass():
    _, gradient = tensors()
    with pytest.raises(TypeError, match=r"tensor\.view\(torch\.uint16\)"):
        as_array(gradient)
