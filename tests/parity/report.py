"""The matrix's outcome as a Markdown table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.parity.axes import FAMILIES
from tests.parity.matrix import Row, Verdict

#: The property of a test's report that carries its row and verdict.
PROPERTY = "parity"
PATH = Path(".run/parity.md")
KINDS = ("equal", "bounded", "refused")


def outcome(row: Row, verdict: Verdict) -> dict[str, str]:
    """What a report carries."""
    bound = f" (at most {verdict.pixels} of 255 in a pixel)" if verdict.kind == "bounded" else ""
    return {**asdict(row), "kind": verdict.kind, "why": verdict.why + bound}


def write_report(reporter: Any) -> None:
    """Write the table of a run, and print where it lies."""
    outcomes = [
        {**dict(report.user_properties)[PROPERTY], "passed": status == "passed"}
        for status in ("passed", "failed")
        for report in reporter.stats.get(status, [])
        if PROPERTY in dict(report.user_properties)
    ]
    if outcomes:
        PATH.parent.mkdir(parents=True, exist_ok=True)
        PATH.write_text(table(outcomes))
        reporter.write_line(f"{len(outcomes)} rows of the parity matrix: {PATH}")


def table(outcomes: Iterable[dict[str, Any]]) -> str:
    """Rows by family and verdict, then the reasons of those that are not equal, then what failed."""
    outcomes = list(outcomes)
    held = Counter((one["family"], one["kind"]) for one in outcomes if one["passed"])
    lines = ["| family | equal | bounded | refused |", "|---|---|---|---|"]
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
