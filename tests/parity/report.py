"""The outcome of the matrix, and of interrupted loops, as Markdown tables."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.parity.axes import FAMILIES
from tests.parity.rows import Row
from tests.parity.verdicts import Verdict

#: The property of a test's report that carries its row and verdict.
PROPERTY = "parity"
PATH = Path(".run/parity.md")
#: The same of an interrupted loop.
CHECKPOINTS = "checkpoints"
CHECKPOINTS_PATH = Path(".run/checkpoint_parity.md")
KINDS = ("equal", "patched", "shifted", "refused")


def outcome(row: Row, verdict: Verdict) -> dict[str, str]:
    """What a report carries."""
    return {**asdict(row), "kind": verdict.kind, "why": verdict.why}


def write_report(reporter: Any) -> None:
    """Write the tables of a run, and print where they lie."""
    for name, path, write in (
        (PROPERTY, PATH, table),
        (CHECKPOINTS, CHECKPOINTS_PATH, checkpoint_table),
    ):
        outcomes = [
            {**dict(report.user_properties)[name], "passed": status == "passed"}
            for status in ("passed", "failed")
            for report in reporter.stats.get(status, [])
            if name in dict(report.user_properties)
        ]
        if outcomes:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(outcomes))
            reporter.write_line(f"{len(outcomes)} rows of {name}: {path}")


def table(outcomes: Iterable[dict[str, Any]]) -> str:
    """Rows by family and verdict, then the reasons of those that are not equal, then what failed."""
    outcomes = list(outcomes)
    held = Counter((one["family"], one["kind"]) for one in outcomes if one["passed"])
    lines = [f"| family | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    lines += [
        f"| {family} | " + " | ".join(str(held[family, kind]) for kind in KINDS) + " |" for family in FAMILIES
    ]
    totals = [str(sum(held[family, kind] for family in FAMILIES)) for kind in KINDS]
    lines += ["| **all** | " + " | ".join(f"**{total}**" for total in totals) + " |", ""]
    reasons = Counter((one["kind"], one["why"]) for one in outcomes if one["passed"] and one["why"])
    lines += ["| rows | verdict | why |", "|---|---|---|"]
    lines += [f"| {count} | {kind} | {why} |" for (kind, why), count in sorted(reasons.items())]
    failed = [one for one in outcomes if not one["passed"]]
    lines += ["", f"{len(outcomes)} rows, {len(failed)} failed."]
    lines += [f"- {' '.join(str(one[axis]) for axis in Row.__dataclass_fields__)}" for one in failed]
    return "\n".join(lines) + "\n"


def checkpoint_table(outcomes: Iterable[dict[str, Any]]) -> str:
    """By the scheduler's class: how many loops were interrupted, and what a checkpoint keeps."""
    by_class: dict[str, list[dict[str, Any]]] = {}
    for one in outcomes:
        by_class.setdefault(one["class"], []).append(one)
    lines = [
        "| scheduler | loops | interruptions | equal | a checkpoint keeps |",
        "|---|--:|--:|--:|---|",
    ]
    for name, rows in sorted(by_class.items()):
        interruptions = sum(one["interruptions"] for one in rows)
        kept = ", ".join(f"`{field}`" for field in sorted({field for one in rows for field in one["kept"]}))
        equal = sum(one["passed"] for one in rows)
        lines.append(f"| {name} | {len(rows)} | {interruptions} | {equal} | {kept or 'nothing'} |")
    return "\n".join(lines) + "\n"
