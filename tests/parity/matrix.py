"""Rows of the parity matrix, and which of them a short run generates."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from shared.catalog.schedulers import SCHEDULERS
from tests.parity.axes import AXES, FAMILIES
from tests.parity.family import Axes
from tests.parity.lora_forms.peft_form import PEFT
from tests.parity.peers import has_peer
from tests.parity.rows import STEPS, Row
from tests.parity.verdicts import RULES, expected

#: Beginnings of names: they take two forwards a step, or long to be made.
_SLOW_SCHEDULERS = ("dpm2", "heun", "lms")
#: Modes of UNets that are seen once: a row of them costs as much as many.
_SLOW_MODES = frozenset({"most-steps"})
#: Of the base model, that a row may cost for one more meeting.
_FORWARDS_WORTH = 8


def full() -> list[Row]:
    """All rows."""
    return [row for axes in AXES for row in rows_of(axes)]


def one_in(count: int, rows: Sequence[Row]) -> list[Row]:
    """One in ``count`` of the rows, the same each time, in their order.

    They are chosen at random: of each ``count``-th row, some names would never meet.
    """
    chosen = random.Random(0).sample(range(len(rows)), len(rows) // count)
    return [rows[i] for i in sorted(chosen)]


def rows_of(axes: Axes) -> list[Row]:
    """Every family of these axes with every mode, ControlNet and LoRA; every scheduler with every family and
    ControlNet, and over images.

    Of families of half precision: every mode, every scheduler, and every ControlNet with every LoRA in PEFT's
    form; its roundings are too wide to judge other forms by.
    """
    turn = itertools.cycle(axes.schedulers)
    families = [name for name, family in FAMILIES.items() if family.axes is axes]
    half = [name for name in families if FAMILIES[name].is_half_precision]
    whole = [name for name in families if name not in half]
    cells = [*itertools.product(whole, axes.modes, axes.controlnets, axes.loras)]
    cells += [(family, mode, "one", "none") for family, mode in itertools.product(half, axes.modes)]
    peft = [name for name, loras in axes.loras.items() if loras.keys() <= PEFT.keys()]
    cells += itertools.product(half, ["plain"], axes.controlnets, peft)
    rows = [Row(*names, str(axes.modes[names[1]].get("scheduler") or next(turn))) for names in cells]
    rows += [
        Row(family, "plain", controlnets, "none", scheduler)
        for family, controlnets, scheduler in (
            *itertools.product(whole, axes.controlnets, axes.schedulers),
            *itertools.product(half, ("none", "one"), axes.schedulers),
        )
    ]
    rows += [
        Row(family, mode, "none", "none", scheduler)
        for family, mode, scheduler in itertools.product(axes.with_images, ["image", "mask"], axes.schedulers)
    ]
    return [row for row in dict.fromkeys(rows) if has_peer(row)]


def sample() -> list[Row]:
    """A few rows in which names meet that matter to each other, every scheduler and every refusal."""
    kinds: dict[bool, list[Row]] = {False: [], True: []}
    for row in full():
        kinds[row.model.is_transformer].append(row)
    return [row for rows in kinds.values() for row in (*_sample_of(rows), *_refusals(rows))]


def _sample_of(rows: Sequence[Row]) -> list[Row]:
    rows = [row for row in rows if expected(row).kind != "refused"]
    random.Random(0).shuffle(rows)
    rows.sort(key=_cost)  # of rows in which the same meet, the first is taken
    first: dict[frozenset[tuple[str, ...]], Row] = {}
    for row in rows:
        first.setdefault(_meetings(row), row)
    worth = {meetings: -_cost(row) / _FORWARDS_WORTH for meetings, row in first.items()}
    wanted = {meeting for meetings in first for meeting in meetings}
    taken = []
    while wanted:
        useful = [meetings for meetings in first if wanted & meetings]
        best = max(useful, key=lambda meetings: len(wanted & meetings) + worth[meetings])
        wanted -= best
        taken.append(first[best])
    return _without_needless(taken)


def _without_needless(rows: Sequence[Row]) -> list[Row]:
    """Without rows whose meetings are all seen in the others, the dearest first."""
    needed = list(rows)
    counts = Counter(itertools.chain.from_iterable(map(_meetings, rows)))
    for row in sorted(rows, key=_cost, reverse=True):
        if all(counts[meeting] > 1 for meeting in _meetings(row)):
            needed.remove(row)
            counts.subtract(_meetings(row))
    return needed


def _cost(row: Row) -> int:
    """What a row costs: forwards of the base model, twice where a name makes it slow apart from them."""
    body = row.body
    images = len(body.get("seeds") or [None] * body.get("num_images", 1))
    steps = body["num_inference_steps"] or STEPS
    is_slow = row.scheduler.startswith(_SLOW_SCHEDULERS), bool(row.model.loading)
    return int(images * steps * 2 ** sum(is_slow))


def _meetings(row: Row) -> frozenset[tuple[str, ...]]:
    """What is seen in a row; all but LoRAs only where there are none, because such a row can be equal."""
    axes, has_controlnets = row.model.axes, f"controlnets={row.controlnets != 'none'}"
    if row.loras != "none":
        met = {("lora", row.family), ("lora", axes.name, row.loras, f"half={row.model.is_half_precision}")}
        return frozenset(met if row.model.is_transformer else {*met, ("lora", row.controlnets)})
    precision = f"half={row.model.is_half_precision}"
    met = {
        ("family", row.family, has_controlnets),
        ("scheduler", row.scheduler),
        ("scheduler class", SCHEDULERS[row.scheduler].name, precision),
    }
    if row.model.is_half_precision and row.model.is_transformer:
        return frozenset(met)
    if row.model.is_transformer:
        met |= {("controlnets", axes.name, row.controlnets), ("mode", row.mode)}
        if row.controlnets != "zero":
            met.add(("task", axes.name, row.task, has_controlnets))
        met |= {("mode", axes.name, row.mode, has_controlnets)} if row.mode in axes.guidance_modes else set()
        if row.controlnets == "range" and row.scheduler == "unipc_flow":  # which looks back over the steps
            met.add(("part of the steps", axes.name))
        return frozenset(met)
    kind = f"sdxl={row.model.is_sdxl}"
    met |= {("controlnets", row.controlnets, kind), ("mode", row.mode)}
    if row.mode not in _SLOW_MODES:
        met |= {("mode", row.mode, kind), ("mode", row.mode, has_controlnets)}
    return frozenset(met)


def _refusals(rows: Iterable[Row]) -> Iterator[Row]:
    """One row for each rule that refuses some of these."""
    rows = list(rows)
    for applies, verdict in RULES:
        if verdict.kind == "refused":
            yield from itertools.islice((row for row in rows if applies(row)), 1)
