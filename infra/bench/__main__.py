"""``python -m infra.bench [--quick] [PART ...]`` and ``python -m infra.bench report``.

The exit code is 1 if a part's work was not the work that was meant, never because of its times.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any, Protocol, cast

from infra.bench.harness.machine import describe_commit, describe_machine, describe_versions
from infra.bench.harness.plots import plot
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
    "overhead": "latency.overhead",
    "lora": "loading.lora",
    "tax": "latency.tax",
    "speedup": "latency.speedup",
    "latent": "latency.latent",
    "share": "throughput.share",
    "soak": "soak.soak",
    "soak_controlnets": "soak.soak_controlnets",
    "kills": "recovery.kills",
    "transport": "transport.transport",
    "trace": "throughput.trace",
    "quality": "quality",
    "start": "loading.start",
}
REPORT = "report"


class Part(Protocol):
    """A module that measures one part."""

    def measure(self, quick: bool) -> Measured:
        """Measure; raises `CheckFailed` if outputs are not equal, or the work was not done."""

    def plot(self, result: Result, left: Any, right: Any) -> None:
        """Draw the result on two panels."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(words)
    if options.parts == [REPORT]:
        results = read_results()
        print(report(results) if results else "Nothing measured yet: python -m infra.bench")
        return 0
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; parts are {', '.join(PARTS)}, or {REPORT} alone")
    try:
        read_settings()  # a part of the stack would read them later, and its reason would be in a log
    except InvalidSetting as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _leave)  # so that a stack is stopped then, too
    failed = [name for name in options.parts or PARTS if not _run(name, options.quick)]
    return 1 if failed else 0


def _run(name: str, quick: bool) -> bool:
    """Measure a part and write what came out; returns whether it counts."""
    form, machine = "quick" if quick else "full", describe_machine()
    print(f"{name} ({form})", flush=True)
    try:
        part = cast(Part, import_module(f"infra.bench.parts.{PARTS[name]}"))
        measured = part.measure(quick)
    except SwiftError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    result = Result.model_validate(
        {
            "part": name,
            "form": form,
            "machine": machine,
            "versions": describe_versions(),
            "commit": describe_commit(),
            "figures": dict(measured.figures),
            "samples": {key: list(values) for key, values in measured.samples.items()},
            "targets": judge(measured.figures, measured.bounds),
        }
    )
    write_result(result)
    plot(result, part.plot, FOLDER / f"{name}.png")
    print(f"\n{table([result])}", flush=True)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; or {REPORT}")
    return parser


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
