"""What a fleet uses over a run: memory, connections, keys, files, shared memory; and what grows."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]
from redis.exceptions import RedisError

from infra.chaos.target import Target
from shared import keys
from shared.jobs.record import ENDED
from workers.transport.backends.host_memory import SHARED

EVERY_S = 1.0
#: A process is judged from this age on, if it grows this old: before, it loads models and fills caches. On
#: two busy cores a worker takes up to 53 s to start.
SETTLED_S, JUDGED_S = 60.0, 90.0
#: What a process may grow by in the second half of its life: a share, and megabytes.
GROWTH, GROWTH_MB = 0.1, 32.0
#: Files and processes that a fleet without jobs may have more than at the start.
SLACK: Mapping[str, int] = {"files": 8, "processes": 0}
#: Up to here a server may grow: its own collector of garbage is told that much (`weed_environment`).
ALLOWED_MB: Mapping[str, float] = {"s3": 400.0}
#: The same for a worker that loads models of every architecture, one after another, and the code of each.
MIXED_WORKER_MB = 800.0
#: Folders of `SWIFT_HOME` whose files are a server's data, or remember something of each model.
NOT_COUNTED = ("redis", "residual-redis", "s3", "weight-hashes")
#: What a log is called whose process was started again; so many are kept.
OLD_LOG = re.compile(r"\.log\.\d+$")
#: Connections that it may have more than it ever had in the first half of the run: pools keep theirs.
CONNECTIONS, MORE_CONNECTIONS = ("control connections", "residual connections"), 8


class Process(NamedTuple):
    """One process of the stack at one moment."""

    name: str
    pid: int
    rss_mb: float


@dataclass(frozen=True)
class Sample:
    """A fleet at one moment, seconds after the start of the run."""

    at_s: float
    jobs: Mapping[str, int]  # by status
    counts: Mapping[str, int]  # of what must not grow, by its name
    memory: Sequence[Process] = ()

    @property
    def ended(self) -> int:
        """Jobs that have ended."""
        return sum(self.jobs.get(status, 0) for status in ENDED)


class ResourceLog:
    """``with ResourceLog(target) as log:`` samples in a thread while the block runs."""

    def __init__(self, target: Target) -> None:
        self.samples: list[Sample] = []
        self._target = target
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def __enter__(self) -> "ResourceLog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._began

    def take(self) -> Sample | None:
        """Take a sample now; None while a Redis is away."""
        try:
            sample = _sample(self._target, self.now_s)
        except (RedisError, OSError):
            return None
        self.samples.append(sample)
        return sample

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.take()


@dataclass(frozen=True)
class Life:
    """The memory of a process, in the first and the second half of its life once it has settled."""

    name: str
    seconds: float
    first_mb: float
    last_mb: float

    def is_growing(self, allowed_mb: Mapping[str, float] = ALLOWED_MB) -> bool:
        """Whether it needs clearly more in the second half, and more than it is allowed."""
        grown_mb = self.last_mb - self.first_mb
        if self.last_mb <= allowed_mb.get(self.name, 0.0):
            return False
        return grown_mb > GROWTH_MB and grown_mb > GROWTH * self.first_mb


def lives(samples: Sequence[Sample]) -> list[Life]:
    """Every process that was seen for longer than `JUDGED_S`."""
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for sample in samples:
        for process in sample.memory:
            seen.setdefault((process.name, process.pid), []).append((sample.at_s, process.rss_mb))
    found = []
    for (name, _), points in sorted(seen.items()):
        settled = [(at_s, mb) for at_s, mb in points if at_s >= points[0][0] + SETTLED_S]
        if points[-1][0] - points[0][0] < JUDGED_S or len(settled) < 4:
            continue
        middle = len(settled) // 2
        parts = [mb for _, mb in settled[:middle]], [mb for _, mb in settled[middle:]]
        found.append(Life(name, points[-1][0] - points[0][0], median(parts[0]), median(parts[1])))
    return found


def grown(
    before: Sample,
    after: Sample,
    samples: Sequence[Sample],
    allowed_mb: Mapping[str, float] = ALLOWED_MB,
) -> Iterator[str]:
    """What a fleet without jobs has more of than at the start, and processes whose memory grows."""
    for name, slack in SLACK.items():
        first, last = before.counts[name], after.counts[name]
        if last > first + slack:
            yield f"{name}: {last} after the run, {first} before"
    for name in CONNECTIONS:
        most = max((one.counts[name] for one in samples[: len(samples) // 2]), default=before.counts[name])
        if after.counts[name] > most + MORE_CONNECTIONS:
            yield f"{name}: {after.counts[name]} after the run, at most {most} in its first half"
    for life in lives(samples):
        if life.is_growing(allowed_mb):
            yield (
                f"memory of {life.name}: {life.first_mb:.0f} MB, then {life.last_mb:.0f} MB "
                f"within {life.seconds:.0f} s"
            )


def _sample(target: Target, at_s: float) -> Sample:
    control, residual = target.control, target.residual
    processes = list(_processes(target))
    statuses = ("queued", "running", *ENDED)
    return Sample(
        at_s=at_s,
        jobs={status: control.zcard(keys.by_status(status)) for status in statuses},
        counts={
            "control keys": control.dbsize(),
            "residual keys": residual.dbsize(),
            "control connections": len(control.client_list()),
            "residual connections": len(residual.client_list()),
            "files": _files(target.stack.home),
            "processes": len(processes),
            "shared segments": sum(_segments(process.pid) for process in processes),
        },
        memory=processes,
    )


def _files(home: Path) -> int:
    """Files in `SWIFT_HOME`, but for those of `NOT_COUNTED` and old logs."""
    return sum(
        path.is_file() and OLD_LOG.search(path.name) is None
        for folder in home.iterdir()
        if folder.is_dir() and folder.name not in NOT_COUNTED
        for path in folder.rglob("*")
    )


def _processes(target: Target) -> Iterator[Process]:
    for name in target.stack.pids():
        for process in target.process_tree(name):
            with suppress(psutil.Error):
                yield Process(name, process.pid, process.memory_info().rss / 2**20)


def _segments(pid: int) -> int:
    """Files in shared memory that a process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return 0
    return len({line.split()[-1] for line in lines if f" {SHARED}/" in line})
