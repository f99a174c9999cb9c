"""The report of a chaos run, as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from infra.chaos.checks import Verdict
from infra.chaos.interruptions import REQUEUED_WITHIN_S, Recovered
from infra.chaos.resources import Sample, lives
from infra.chaos.traffic import Log


class Injected(NamedTuple):
    """A fault, seconds after the start of the run."""

    at_s: float
    fault: str


class Setup(NamedTuple):
    """What was run, and where."""

    seconds: float
    seed: int
    fleet: str  # its workers, and whether it was saturated
    machine: str

    @property
    def title(self) -> str:
        """The setup in one line, without the machine."""
        return f"{self.seconds / 60:.1f} minutes, seed {self.seed}, {self.fleet}"


@dataclass
class Run:
    """One run and its results."""

    setup: Setup
    log: Log
    verdict: Verdict = field(default_factory=Verdict)
    injected: list[Injected] = field(default_factory=list)
    #: By fault: seconds from its end until the fleet was healthy, or went on.
    recovered_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: list[str] = field(default_factory=list)
    #: From before the first job until all have ended.
    samples: list[Sample] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """Everything that happened and must not."""
        return [*self.log.violations, *self.verdict.violations]


def render(run: Run) -> str:
    """The report as Markdown."""
    log, verdict = run.log, run.verdict
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(verdict.statuses.items()) if count)
    lines = [
        f"{run.setup.title}, {run.setup.machine}.",
        "",
        *_table("fault | times | recovered after, median s | longest s", _faults(run)),
        *_table(
            "ended by | jobs interrupted | queued again after, median s | longest s | at most s "
            "| claimed again, median s | longest s | most jobs begun before it",
            _interruptions(verdict.recovered),
        ),
        f"- {len(log.accepted)} jobs accepted; at the end {statuses}.",
        f"- {verdict.images} images in {verdict.groups} groups of equal requests, of which "
        f"{verdict.peer_groups} were compared with diffusers' own; {verdict.continued} jobs were continued. "
        f"{verdict.hand_overs} attempts gave their job back: SIGTERM, or an interactive job.",
        f"- {_webhooks(verdict)}",
        f"- Killed with SIGKILL: {_kills(verdict.kills)}.",
        f"- Longest time without an ended job: {longest_pause_s(run.samples, run.setup.seconds):.1f} s.",
        f"- Answers: {', '.join(f'{count} × {answer}' for answer, count in log.answers.most_common())}.",
        *[f"- Not injected: {name} (needs root, to mount a disk)." for name in run.skipped],
        "",
        *_table("resource | before | median | most | at the end", _resources(run.samples)),
        *_table("process | lived, s | MB in the first half | in the second", _memory(run.samples)),
        f"**{len(run.violations)} violations.**" if run.violations else "**No violation.**",
        *[f"- {violation}" for violation in run.violations[:50]],
    ]
    return "\n".join(lines) + "\n"


def longest_pause_s(samples: Sequence[Sample], seconds: float) -> float:
    """The longest time, while jobs were submitted, in which no job ended."""
    longest_s = since_s = 0.0
    for before, after in pairwise(samples):
        if after.at_s > seconds:
            break
        longest_s = max(longest_s, after.at_s - since_s)
        if after.ended > before.ended:
            since_s = after.at_s
    return longest_s


def _table(head: str, rows: Iterator[str]) -> list[str]:
    found = list(rows)
    columns = head.count("|")
    return [f"| {head} |", f"|---|{'--:|' * columns}", *found, ""] if found else []


def _faults(run: Run) -> Iterator[str]:
    for name, times in sorted(run.recovered_s.items()):
        yield f"| {name} | {len(times)} | {median(times):.1f} | {max(times):.1f} |"


def _kills(kills: Mapping[str, int]) -> str:
    """How often each kind of process was killed: the names of several workers differ by a number."""
    kinds: Counter[str] = Counter()
    for name, count in kills.items():
        kinds[name if name == "s3" else name.rstrip("0123456789")] += count
    return ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items())) or "nothing"


def _webhooks(verdict: Verdict) -> str:
    counts = verdict.webhooks
    failures = [f"{count} × {answer}" for answer, count in sorted(counts.answers.items()) if answer != "204"]
    return (
        f"{counts.received} webhooks received of {verdict.statuses.total()} jobs, {counts.repeats} of them "
        f"repeats with the same id; failures answered: {', '.join(failures) or 'none'}."
    )


def _interruptions(recovered: Sequence[Recovered]) -> Iterator[str]:
    for fault, within_s in REQUEUED_WITHIN_S.items():
        found = [one for one in recovered if one.fault == fault]
        queued = [one.requeued_s for one in found]
        claimed = [one.claimed_s for one in found if one.claimed_s is not None]
        if claimed:
            yield (
                f"| {fault} | {len(found)} | {median(queued):.2f} | {max(queued):.2f} | {within_s:g} "
                f"| {median(claimed):.2f} | {max(claimed):.2f} | {max(one.overtaken for one in found)} |"
            )


def _resources(samples: Sequence[Sample]) -> Iterator[str]:
    for name in samples[0].counts if samples else ():
        values = [sample.counts[name] for sample in samples]
        yield f"| {name} | {values[0]} | {median(values):g} | {max(values)} | {values[-1]} |"


def _memory(samples: Sequence[Sample]) -> Iterator[str]:
    for life in lives(samples):
        yield f"| {life.name} | {life.seconds:.0f} | {life.first_mb:.0f} | {life.last_mb:.0f} |"
