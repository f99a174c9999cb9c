"""What keeps the other core busy."""

from pathlib import Path

from infra.bench.parts.family.guided_step import GuidedStep
from infra.bench.workloads.flux import open_flux
from tests.infra.bench.workloads.flux_recipes import TOY


def test_each_residual_of_a_step_is_computed_and_timed(tmp_path: Path) -> None:
    seconds = GuidedStep(open_flux("toy", TOY, tmp_path)).compute_residuals()
    # Four double blocks share two residuals, six single ones share three
    assert len(seconds) == 5
    assert min(seconds) > 0
