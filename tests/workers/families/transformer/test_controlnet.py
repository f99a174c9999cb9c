"""When ControlNets of transformers compute what: in each family a residual leaves right after its block."""

from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import ControlNetFailed
from tests.workers.families.transformer.guided_steps import PAIRS, BlockClock, GuidedStep, in_order
from workers.families.staged_forward import run_to_end


@pytest.mark.parametrize("family", PAIRS)
@torch.inference_mode()
def test_a_residual_leaves_right_after_its_block(family: str) -> None:
    step = GuidedStep(family)
    clock = BlockClock(step.controlnet_blocks)
    left = [(index, clock.now) for index, _ in step.residuals()]
    assert left == [(index, index + 1) for index in range(len(step.controlnet_blocks))]


@pytest.mark.parametrize("family", PAIRS)
@torch.inference_mode()
def test_blocks_after_the_last_residual_that_is_read_are_not_computed(family: str) -> None:
    step = GuidedStep(family, is_all_read=False)
    clock = BlockClock(step.controlnet_blocks)
    residual = in_order(step.residuals())
    forward = step.forward()
    prediction = run_to_end(forward, next(forward), residual)
    assert prediction.isfinite().all()
    assert clock.now == len(step.controlnet.order) < len(step.controlnet_blocks)


@pytest.mark.parametrize("family", PAIRS)
@torch.inference_mode()
def test_only_the_first_residual_is_waited_for(family: str) -> None:
    step = GuidedStep(family)
    # Given a ControlNet that computes beside the base model, and residuals that travel for two blocks
    base, own, travel = BlockClock(step.blocks), BlockClock(step.controlnet_blocks), 2
    next_residual, lost, waited = in_order(step.residuals()), 0, []

    def residual(index: int) -> Tensor:
        nonlocal lost
        found = next_residual(index)
        if own.now + travel > base.now + lost:
            lost = own.now + travel - base.now
            waited.append(index)
        return found

    forward = step.forward()
    run_to_end(forward, next(forward), residual)
    # Then the base model loses the ControlNet's first block and the travel, less its own first block
    assert waited == [0]
    assert lost == travel
    assert (base.now, own.now) == (len(step.blocks), len(step.controlnet_blocks))


#: By family that has no unions whose kinds a job names.
REFUSALS = {
    "flux": "is no union: it has no control_mode",
    "sd3": "is no union: it has no control_mode",
    "qwen_image": "takes no control_mode",
    "z_image": "has no control_mode: it tells images apart itself",
}


@pytest.mark.parametrize("family", PAIRS)
def test_a_control_mode_that_means_nothing_is_refused_by_name(family: str) -> None:
    step: Any = GuidedStep(family)
    step.residuals(None)
    with pytest.raises(ControlNetFailed, match=f"ControlNet 'net' {REFUSALS[family]}"):
        step.residuals(0)
