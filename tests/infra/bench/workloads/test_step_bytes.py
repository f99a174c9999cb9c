"""What a step sends, computed from real configs: what was measured, and what the docs say."""

from pathlib import Path

import pytest

from infra.bench.workloads.step_bytes import STEPS, SentStep, as_table

ROOT = Path(__file__).parents[4]

#: Megabytes of one row in bfloat16, as counted from the shapes that diffusers' forwards give.
COUNTED = {
    "SD 1.5, 512²": 13,
    "SDXL": 54,
    "Flux.1, 5/10": 377,
    "Flux.1, 6/0": 126,
    "Flux.1, 4/0": 101,
    "SD3.5 large, 38/19": 379,
    "SD3.5 medium, 24/12": 151,
    "Qwen-Image, 60/5": 126,
    "Z-Image, 15 hints": 487,
    "Z-Image, 6 hints": 195,
    "Z-Image, 3 hints": 97,
}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.label)
def test_a_step_sends_what_was_counted(step: SentStep) -> None:
    assert round(step.megabytes) == COUNTED[step.label]


def test_the_docs_have_the_table() -> None:
    assert as_table() in (ROOT / "infra/docs/operations.md").read_text()
