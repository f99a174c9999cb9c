"""Part ``gpu``: the fleet and diffusers on one NVIDIA GPU, SDXL at full size with random weights.

Experiments E0 to E12 stand for themselves, can be named (``--only E0,E4``) and are written after each.
Where there is no GPU the same code runs on a toy on the CPU: it shows that it works, its times mean nothing.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infra.bench.harness.machine import describe_commit
from infra.bench.harness.report import FOLDER, Measured, Result, read_results
from infra.bench.parts.gpu.card import SHARED_MEMORY, describe_card, shared_memory_gb
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.fleet.packages import find_missing
from infra.bench.parts.gpu.runner import choose, run_all

#: SDXL with two ControlNets, half of a Flux with one, and what a fleet puts beside them.
FOLDER_GB = 36.0


def measure(quick: bool) -> Measured:
    """Run all experiments."""
    return measure_experiments(quick, [], None, lambda _: None)


def measure_experiments(
    quick: bool,
    only: Sequence[str],
    within_s: float | None,
    save: Callable[[Measured], object],
    *,
    folder: Path | None = None,
    device: str | None = None,
) -> Measured:
    """Run experiments; those of an earlier run with the same card and commit are kept beside them.

    Tests give another ``folder`` for models and fleets, and the CPU as the ``device``.
    """
    experiments = choose(only, quick=quick)
    with tempfile.TemporaryDirectory(prefix="swift-gpu-", dir=folder or _spacious()) as home:
        context = Context(quick=quick, folder=Path(home), device=device)
        if only:
            keep_earlier(context, [experiment.name for experiment in experiments])
        if missing := find_missing():
            context.note(f"there is no fleet here: it needs {', '.join(missing)}")
        with context.open:
            run_all(context, experiments, within_s, save)
        return context.measured()


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of an image without add-ons, and each figure as a share of its target."""
    latencies = {
        name.removesuffix("_s"): value
        for name, value in result.figures.items()
        if name.startswith(("diffusers_eager_s", "diffusers_compile", "fleet_0c0l_s_", "limit_s"))
    }
    left.barh(list(latencies), list(latencies.values()))
    left.set(xlabel="s", title=f"an image, 0C/0L; {result.machine.get('gpu', '')}")
    wanted = {name: target.at_most or target.at_least for name, target in result.targets.items()}
    shares = {name: result.figures[name] / value for name, value in wanted.items() if value}
    colours = ["tab:green" if result.targets[name].met else "tab:red" for name in shares]
    right.barh(list(shares), list(shares.values()), color=colours)
    right.axvline(1, linestyle=":")
    right.set(xlabel="figure over target", title="targets: red ones are missed")


def keep_earlier(context: Context, again: Sequence[str], folder: Path = FOLDER) -> None:
    """Take over what an earlier run with this card, form and commit has measured.

    Its notes and failures are notes now, but for those of the experiments that run ``again``.
    """
    card, commit = describe_card(context.device)["gpu"], describe_commit()
    form = "quick" if context.quick else "full"
    for result in read_results(folder) if folder.exists() else []:
        if (result.part, result.form, result.commit) == ("gpu", form, commit) and (
            result.machine.get("gpu") == card
        ):
            context.figures.update(result.figures)
            context.samples.update(result.samples)
            context.limits.update(
                {name: target.limit for name, target in result.targets.items() if target.limit is not None}
            )
            context.notes += [note for note in result.notes if re.split("[ :]", note)[0] not in again]


def _spacious() -> Path | None:
    """Memory if it holds the models: written in seconds, and nothing is left behind."""
    return SHARED_MEMORY if shared_memory_gb() > FOLDER_GB else None
