"""The report of a chaos run, as Markdown."""

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from infra.chaos.checks import Verdict
from infra.chaos.traffic import Log


@dataclass
class Run:
    """The options of a run and its results."""

    seconds: float
    seed: int
    machine: str
    log: Log
    verdict: Verdict = field(default_factory=Verdict)
    #: By fault: seconds from its end until the fleet was healthy.
    recovered_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """Everything that happened and must not."""
        return [*self.log.violations, *self.verdict.violations]


def render(run: Run) -> str:
    """The report as Markdown."""
    rows = [
        f"| {name} | {len(times)} | {median(times):.1f} | {max(times):.1f} |"
        for name, times in sorted(run.recovered_s.items())
    ]
    log, verdict = run.log, run.verdict
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(verdict.statuses.items()))
    lines = [
        f"{run.seconds / 60:.0f} minutes, seed {run.seed}, {run.machine}.",
        "",
        "| fault | times | recovered after, median s | longest s |",
        "|---|--:|--:|--:|",
        *rows,
        "",
        f"- {len(log.accepted)} jobs accepted; at the end {statuses}, "
        f"{verdict.lost_with_append_only_file} lost with the end of the append-only file.",
        f"- {verdict.images} images in {verdict.groups} groups of equal requests.",
        f"- Answers: {', '.join(f'{count} × {answer}' for answer, count in log.answers.most_common())}.",
        *[f"- Not injected: {name} (needs root, to mount a disk)." for name in run.skipped],
        "",
        f"**{len(run.violations)} violations.**" if run.violations else "**No violation.**",
        *[f"- {violation}" for violation in run.violations[:50]],
    ]
    return "\n".join(lines) + "\n"
