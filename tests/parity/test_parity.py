"""Every row of the matrix: what the worker generates, compared with diffusers' own pipeline."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.errors import SwiftError
from tests.parity.axes import CONTROLNETS, LORAS, MODES
from tests.parity.matrix import Row, expected
from tests.parity.report import PROPERTY, outcome
from tests.parity.world import World


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
    ours, theirs = world.ours(spec), world.theirs(spec)
    distances = [np.abs(a - b).max() for a, b in zip(ours.pixels, theirs.pixels, strict=True)]
    assert max(distances) <= verdict.pixels
    if verdict.is_shifted:
        for a, b in zip(ours.latents, theirs.latents, strict=True):
            torch.testing.assert_close(world.without_shift(spec, a), b, rtol=1e-3, atol=1e-3)
    if verdict.kind == "equal":
        assert all(torch.equal(a, b) for a, b in zip(ours.latents, theirs.latents, strict=True))


@pytest.mark.parametrize(
    ("axis", "names"),
    [
        ("mode", [mode for mode in MODES if mode != "plain"]),
        ("controlnets", [controlnets for controlnets in CONTROLNETS if controlnets not in ("none", "zero")]),
        ("loras", [loras for loras in LORAS if loras != "none"]),
    ],
)
def test_every_name_on_an_axis_changes_the_image(axis: str, names: list[str], world: World) -> None:
    """Else a row that is equal would say nothing about it."""
    plain = Row("sdxl", "plain", "none", "none", "euler")

    def generated(row: Row) -> list[bytes]:
        return [image.tobytes() for image in world.ours(world.accept(row)).pixels]

    unchanged = generated(plain)
    for name in names:
        row = replace(plain, **{axis: name})
        assert (
            generated(replace(row, scheduler=MODES[row.mode].get("scheduler", row.scheduler))) != unchanged
        ), name
