"""A ControlNet of any family that is computed on the other core while something is measured.

The process is ``python -m infra.bench.parts.family.busy_controlnet``.
"""

from contextlib import AbstractContextManager

from infra.bench.harness.background_process import (
    BackgroundProcess,
    Compute,
    running_background_process,
    serve,
)
from infra.bench.parts.family.guided_step import GuidedStep
from infra.bench.workloads.flux import open_flux


def running_busy_controlnet() -> AbstractContextManager[BackgroundProcess]:
    """The process."""
    return running_background_process("infra.bench.parts.family.busy_controlnet")


def _make() -> Compute:
    step = GuidedStep(open_flux())
    return step.compute_residuals


if __name__ == "__main__":
    serve(_make)
