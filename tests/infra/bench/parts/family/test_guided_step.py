"""The parts of a step with a ControlNet, and the least that they take together."""

from pathlib import Path

import pytest
import torch

from infra.bench.parts.family.guided_step import GuidedStep, StepParts, copy_s
from infra.bench.workloads.flux import open_flux
from tests.infra.bench.workloads.flux_recipes import TOY


def test_a_controlnet_that_is_never_waited_for_adds_nothing() -> None:
    assert StepParts([1.0, 1.0, 1.0], [0.5, 0.5], 0.1).path_s == pytest.approx(3.0)


def test_the_first_residual_alone_is_waited_for_where_only_it_is_late() -> None:
    assert StepParts([1.0, 1.0, 1.0], [1.2, 0.5], 0.1).path_s == pytest.approx(1.3 + 2.0)


def test_a_controlnet_slower_than_its_base_model_holds_up_all_but_the_end() -> None:
    assert StepParts([1.0, 1.0, 1.0], [2.0, 2.0], 0.25).path_s == pytest.approx(4.25 + 1.0)


def test_a_base_model_is_timed_between_the_residuals_that_it_needs(tmp_path: Path) -> None:
    step = GuidedStep(open_flux("toy", TOY, tmp_path))
    controlnet_s, residuals = step.controlnet()
    # Four double blocks share two residuals, six single ones share three
    assert list(residuals) == [0, 1, 2, 3, 4]
    assert len(controlnet_s) == 5
    base_s = step.base(residuals)
    assert len(base_s) == 1 + 5
    assert min(base_s + controlnet_s) > 0


def test_a_copy_takes_time() -> None:
    assert copy_s(torch.zeros(1000)) > 0
