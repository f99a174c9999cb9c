"""For each name on an axis, rows that differ by it alone: their images show what it changes."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.parity.rows import Row
from tests.parity.verdicts import expected

#: Families of the same axes and a scheduler; each name on an axis means something to one of them.
_PLAIN: list[tuple[tuple[str, ...], str]] = [
    (("sdxl",), "euler"),
    (("flux-dev", "flux-schnell"), "flow_match_euler"),
    (("sd3.5-medium",), "flow_match_euler"),
    (("qwen-image",), "flow_match_euler"),
    (("z-image",), "flow_match_euler"),
]
#: Modes of rows that differ by a name, or by one on an axis, if these are not plain; the cheapest first.
_MODES = {"inpaint": ("mask-whole",), "loras": ("one-step", "plain")}
#: Names that change nothing.
_UNCHANGED = ("plain", "none", "zero")


class Pair(NamedTuple):
    """A row without a name, and the same with it."""

    plain: Row
    changed: Row


def _pairs_of(families: Iterable[str], scheduler: str, axis: str, name: str) -> list[Pair]:
    """One for each family that does not refuse it."""
    pairs = []
    for family, mode in itertools.product(families, _MODES.get(name, _MODES.get(axis, ("plain",)))):
        row = Row(family, mode, "none", "none", scheduler)
        changed = replace(row, **{axis: name})
        modes = row.model.axes.modes
        if mode in modes and expected(changed).kind != "refused":
            own = str(modes[changed.mode].get("scheduler", scheduler))
            pairs.append(Pair(replace(row, scheduler=own), replace(changed, scheduler=own)))
    return pairs


def _names(family: str, axis: str) -> Sequence[str]:
    axes = Row(family, "plain", "none", "none", "").model.axes
    names = {"mode": axes.modes, "controlnets": axes.controlnets, "loras": axes.loras}[axis]
    return [name for name in names if name not in _UNCHANGED]


#: Pairs by name, of each axis by families and axis. A name has none if all families refuse it.
CASES: dict[str, dict[str, list[Pair]]] = {
    f"{' or '.join(families)}: {axis}": {
        name: pairs
        for name in _names(families[0], axis)
        if (pairs := _pairs_of(families, scheduler, axis, name))
    }
    for families, scheduler in _PLAIN
    for axis in ("mode", "controlnets", "loras")
}
