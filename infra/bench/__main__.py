"""``python -m infra.bench [--quick] [PART ...]`` and ``python -m infra.bench report``.

``python -m infra.bench gpu --only E0,E4 --within 460`` runs some experiments of a part that has them, and
begins none that would not end in time. ``--out FOLDER`` writes results there, too, as soon as they are there.

``python -m infra.bench simulate --devices 50 --rate 5`` simulates a fleet, and ``python -m infra.bench plan
--rate 3 --p99 12`` says how many devices that takes. Both measure nothing and have options of their own.

The exit code is 1 if a part's work was not the work that was meant, never because of its times.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

from infra.bench.harness.machine import describe_commit, describe_machine, describe_versions
from infra.bench.harness.report import (
    FOLDER,
    Measured,
    Result,
    judge,
    read_results,
    report,
    table,
    write_result,
)
from shared.errors import InvalidSetting, SwiftError
from shared.settings import read_settings

#: Every part of the command line, and its module in `infra.bench.parts`.
PARTS = {
    "api": "web.api",
    "connections": "web.connections",
    "keys": "web.keys",
    "compat": "web.compat",
    "overhead": "latency.overhead",
    "lora": "loading.lora",
    "tax": "latency.tax",
    "speedup": "latency.speedup",
    "latent": "latency.latent",
    "family": "family.family",
    "share": "throughput.share",
    "simulation": "throughput.simulation",
    "goodput": "throughput.goodput",
    "soak": "soak.soak",
    "soak_controlnets": "soak.soak_controlnets",
    "kills": "recovery.kills",
    "transport": "transport.transport",
    "trace": "throughput.trace",
    "placement": "throughput.placement",
    "quality": "quality",
    "start": "loading.start",
    "fairness": "scheduling.fairness",
    "gpu": "gpu.gpu",
}
#: Parts of experiments, which can be run one by one, and whose figures are written after each.
WITH_EXPERIMENTS = frozenset({"gpu", "goodput"})
#: Left out of a run of all parts: `gpu` needs a card, and is asked for by name.
BY_NAME_ONLY = frozenset({"gpu"})
REPORT = "report"
#: Commands that measure nothing, and their modules.
COMMANDS = {
    "simulate": "infra.bench.simulate.commands.simulate",
    "variants": "infra.bench.simulate.commands.variants",
    "plan": "infra.bench.simulate.commands.plan",
}


class Part(Protocol):
    """A module that measures one part."""

    def measure(self, quick: bool) -> Measured:
        """Measure; raises `CheckFailed` if outputs are not equal, or the work was not done."""

    def plot(self, result: Result, left: Any, right: Any) -> None:
        """Draw the result on two panels."""


class PartWithExperiments(Protocol):
    """A part whose experiments stand for themselves."""

    def measure_experiments(
        self, quick: bool, only: Sequence[str], within_s: float | None, save: Callable[[Measured], object]
    ) -> Measured:
        """Run ``only`` these experiments, or all; ``save`` gets what there is after each of them."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code."""
    words = sys.argv[1:] if words is None else list(words)
    if words and words[0] in COMMANDS:
        return int(import_module(COMMANDS[words[0]]).main(words[1:]))
    parser = _parser()
    options = parser.parse_args(words)
    if options.parts == [REPORT]:
        results = read_results()
        print(report(results) if results else "Nothing measured yet: python -m infra.bench")
        return 0
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; parts are {', '.join(PARTS)}, or {REPORT} alone")
    if (options.only or options.within) and not WITH_EXPERIMENTS.issuperset(options.parts or PARTS):
        parser.error(f"--only and --within are for parts with experiments: {', '.join(WITH_EXPERIMENTS)}")
    try:
        read_settings()  # a part of the stack would read them later, and its reason would be in a log
    except InvalidSetting as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _leave)  # so that a stack is stopped then, too
    parts = options.parts or [name for name in PARTS if name not in BY_NAME_ONLY]
    failed = [name for name in parts if not _run(name, options)]
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    """Measure a part and write what came out; returns whether it counts."""
    form, machine = "quick" if options.quick else "full", describe_machine()
    folders = [FOLDER] if options.out is None else [FOLDER, options.out]
    print(f"{name} ({form})", flush=True)

    def save(measured: Measured) -> Result:
        result = _result(name, form, machine, measured)
        for folder in folders:
            write_result(result, folder)
        return result

    try:
        part: Any = import_module(f"infra.bench.parts.{PARTS[name]}")
        if name in WITH_EXPERIMENTS:
            experiments = cast(PartWithExperiments, part)
            measured = experiments.measure_experiments(options.quick, options.only, options.within, save)
        else:
            measured = cast(Part, part).measure(options.quick)
    except SwiftError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        why = f"{package} is not installed; infra/docs/benchmarks.md says what a part needs"
        print(f"{name}: {why}", file=sys.stderr)
        return False
    result = save(measured)
    _plot(result, part, folders)
    print(f"\n{table([result])}", flush=True)
    for note in measured.notes:
        print(note, flush=True)
    for failure in measured.failures:
        print(f"{name}: {failure}", file=sys.stderr)
    return not measured.failures


def _result(name: str, form: str, machine: dict[str, str | float], measured: Measured) -> Result:
    return Result.model_validate(
        {
            "part": name,
            "form": form,
            "machine": {**machine, **measured.device},
            "versions": describe_versions(),
            "commit": describe_commit(),
            "figures": dict(measured.figures),
            "samples": {key: list(values) for key, values in measured.samples.items()},
            "targets": judge(measured.figures, measured.bounds),
            "notes": [*measured.failures, *measured.notes],
        }
    )


def _plot(result: Result, part: Part, folders: Sequence[Path]) -> None:
    try:
        from infra.bench.harness.plots import plot
    except ModuleNotFoundError as error:  # a bare machine may measure, too
        print(f"no plot: {error.name} is not installed", flush=True)
        return
    for folder in folders:
        plot(result, part.plot, folder / f"{result.part}.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--only", type=_listed, default=[], metavar="E0,E4", help="experiments of a part")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="begin none that ends later")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="results are written there, too")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; or {REPORT}")
    return parser


def _listed(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
