"""Every row of the matrix: what the worker generates, compared with diffusers' own pipeline."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from shared.errors import SwiftError
from tests.parity.beside_plain import CASES
from tests.parity.fused import roundings_apart
from tests.parity.report import PROPERTY, outcome
from tests.parity.rows import Row
from tests.parity.verdicts import expected
from tests.parity.world import World

#: How often each LoRA's weights are rounded, by diffusers and here: what it adds, and the sum.
ROUNDINGS = 2


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_a_row_is_what_diffusers_generates(
    row: Row, world: World, record_property: Callable[[str, object], None]
) -> None:
    verdict = expected(row)
    record_property(PROPERTY, outcome(row, verdict))
    if verdict.kind == "refused":
        with pytest.raises(SwiftError, match=verdict.refusal):
            world.ours(world.accept(row))
        return
    spec = world.accept(row)
    fused = world.fused_weights(spec) if spec.loras else {}
    ours = world.ours(spec)
    if spec.loras:
        assert roundings_apart(world.weights(spec), fused) <= ROUNDINGS * len(spec.loras)
    theirs = world.theirs(spec)
    assert all(np.array_equal(a, b) for a, b in zip(ours.pixels, theirs.pixels, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ours.latents, theirs.latents, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_every_name_on_an_axis_changes_an_image(case: str, world: World) -> None:
    """Else a row that is equal would say nothing about it."""
    for name, pairs in CASES[case].items():
        assert any(world.images(pair.plain) != world.images(pair.changed) for pair in pairs), name
