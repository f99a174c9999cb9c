"""What a part has measured: written as JSON and Markdown, read back, shown with missed targets first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.errors import SwiftError
from shared.settings import ROOT

FOLDER = ROOT / ".run" / "bench"
HEAD = "| part | figure | value | target | |\n|---|---|--:|--:|---|\n"


class CheckFailed(SwiftError):
    """The measured work was not the intended work, so its times do not count."""

    code = "check_failed"


class Bound(NamedTuple):
    """What a figure must reach; beside it what the hardware allows at best, and what others have reached."""

    kind: Literal["at_most", "at_least"]
    value: float
    limit: float | None = None
    anchor: str | None = None


class Target(BaseModel):
    """A bound on a figure, and whether this run has met it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_most: float | None = None
    at_least: float | None = None
    met: bool
    limit: float | None = None
    anchor: str | None = None


class Measured(NamedTuple):
    """The result of a part: figures by name, the raw samples behind them, and the bounds they must reach."""

    figures: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]
    bounds: Mapping[str, Bound]
    #: What was left out, and why.
    notes: Sequence[str] = ()
    #: What counts for nothing: outputs that are not equal, work that was not done.
    failures: Sequence[str] = ()
    #: Of a part that computes on another device than the processor: what it is.
    device: Mapping[str, str | float] = {}


class Result(BaseModel):
    """One run of one part, as ``PART.json`` holds it. Units are in the figures' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    form: Literal["quick", "full"]
    machine: dict[str, str | float]
    versions: dict[str, str]
    commit: str
    figures: dict[str, float]
    samples: dict[str, list[float]]
    targets: dict[str, Target]
    notes: list[str] = []


def judge(figures: Mapping[str, float], bounds: Mapping[str, Bound]) -> dict[str, Target]:
    """Hold each figure against its bound; reaching it exactly is enough."""
    return {name: _judge(figures[name], bound) for name, bound in bounds.items()}


def _judge(value: float, bound: Bound) -> Target:
    is_met = value <= bound.value if bound.kind == "at_most" else value >= bound.value
    return Target.model_validate(
        {bound.kind: bound.value, "met": is_met, "limit": bound.limit, "anchor": bound.anchor}
    )


def write_result(result: Result, folder: Path = FOLDER) -> None:
    """Write ``PART.json`` and ``PART.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.part}.json").write_text(result.model_dump_json(indent=1, exclude_none=True) + "\n")
    notes = "".join(f"\n- {note}" for note in result.notes)
    (folder / f"{result.part}.md").write_text(f"{_describe(result)}\n\n{table([result])}{notes}\n")


def read_results(folder: Path = FOLDER) -> list[Result]:
    """Every result in ``folder``, by the name of its part."""
    return [Result.model_validate_json(path.read_text()) for path in sorted(folder.glob("*.json"))]


def report(results: Sequence[Result]) -> str:
    """All results: where each comes from, then one table."""
    return "\n".join(_describe(result) for result in results) + f"\n\n{table(results)}"


def table(results: Sequence[Result]) -> str:
    """Every figure as a row of a Markdown table: missed targets, met ones, figures without."""
    rows = [
        (result.part, name, value, result.targets.get(name))
        for result in results
        for name, value in result.figures.items()
    ]
    rows.sort(key=lambda row: 2 if row[3] is None else int(row[3].met))
    return HEAD + "".join(
        f"| {part} | {name} | {value:.4g} | {_bound(target)} | {_verdict(target)} |\n"
        for part, name, value, target in rows
    )


def _bound(target: Target | None) -> str:
    if target is None:
        return ""
    return f"≥ {target.at_least:g}" if target.at_least is not None else f"≤ {target.at_most:g}"


def _verdict(target: Target | None) -> str:
    return "" if target is None else "met" if target.met else "**missed**"


def _describe(result: Result) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return f"`{result.part}` ({result.form}), commit {result.commit}; {machine}; {versions}"
