"""Every row of the matrix: what the worker generates, compared with diffusers' own pipeline."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from shared.errors import SwiftError
from tests.parity.axes import FAMILIES
from tests.parity.report import PROPERTY, outcome
from tests.parity.rows import Row
from tests.parity.verdicts import expected
from tests.parity.world import World

#: Families of the same axes and a scheduler; each name on an axis means something to one of them.
PLAIN: list[tuple[tuple[str, ...], str]] = [
    (("sdxl",), "euler"),
    (("flux-dev", "flux-schnell"), "flow_match_euler"),
    (("sd3.5-medium",), "flow_match_euler"),
    (("qwen-image",), "flow_match_euler"),
    (("z-image",), "flow_match_euler"),
]
#: Names that change nothing.
UNCHANGED = ("plain", "none", "zero")
#: The mode of a job that may name a ControlNet, if it is not plain.
MODES = {"inpaint": "mask-whole"}


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


@pytest.mark.parametrize("axis", ["mode", "controlnets", "loras"])
@pytest.mark.parametrize(("families", "scheduler"), PLAIN)
def test_every_name_on_an_axis_changes_an_image(
    families: tuple[str, ...], scheduler: str, axis: str, world: World
) -> None:
    """Else a row that is equal would say nothing about it."""
    axes = FAMILIES[families[0]].axes
    names = {"mode": axes.modes, "controlnets": axes.controlnets, "loras": axes.loras}[axis]
    plain = [Row(family, "plain", "none", "none", scheduler) for family in families]

    @cache  # each is held against the same plain image
    def generated(row: Row) -> list[bytes]:
        own = axes.modes[row.mode].get("scheduler", row.scheduler)
        spec = world.accept(replace(row, scheduler=own))
        return [image.tobytes() for image in world.ours(spec).pixels]

    def changes(row: Row, name: str) -> bool:
        return generated(replace(row, **{axis: name})) != generated(row)

    for name in names:
        rows = [replace(row, mode=MODES.get(name, row.mode)) for row in plain]
        rows = [row for row in rows if expected(replace(row, **{axis: name})).kind != "refused"]
        if rows and name not in UNCHANGED:
            assert any(changes(row, name) for row in rows), name
