"""What is done to a running fleet. Each fault is undone before its function returns."""

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random

import psutil  # type: ignore[import-untyped]

from infra.chaos.target import Target, filled
from infra.local.home_lock import find_holder

#: How long a process is stopped, a disk full or the control Redis away: shorter and longer than a lease.
STOP_S, FULL_DISK_S, OUTAGE_S = (1.0, 12.0), (4.0, 10.0), (6.0, 20.0)
#: How much of the append-only file is cut.
CUT_BYTES = (1_000, 150_000)
#: Job ids as they stand in the append-only file.
_JOB_ID = re.compile(rb"swift:job:([0-9a-f]{16})")


class Excused:
    """Jobs that a cut append-only file may have lost, or set back to an earlier state."""

    def __init__(self) -> None:
        self.job_ids: set[str] = set()


Fault = Callable[[Target, Random, Excused], str]


def kill(target: Target, chance: Random, _: Excused) -> str:
    """kill -9 of one process and what it has started."""
    name = chance.choice(target.process_names)
    _kill(target.family(name))
    return name


def kill_everything(target: Target, _: Random, __: Excused) -> str:
    """kill -9 of the supervisor, with which every process dies; then the stack is started again."""
    _send(target.supervisor, signal.SIGKILL)
    while find_holder(target.stack.home) is not None:
        time.sleep(0.05)
    target.start_again()
    return "started again"


def stop(target: Target, chance: Random, _: Excused) -> str:
    """SIGSTOP for a while, then SIGCONT: a process that is neither dead nor alive."""
    name, seconds = chance.choice(target.process_names), chance.uniform(*STOP_S)
    family = target.family(name)
    for process in family:
        _send(process, signal.SIGSTOP)
    time.sleep(seconds)
    for process in family:
        _send(process, signal.SIGCONT)
    return f"{name}, {seconds:.0f} s"


def fill_disk(target: Target, chance: Random, _: Excused) -> str:
    """No space left under SWIFT_HOME: logs, pid files, S3 and the append-only file."""
    seconds = chance.uniform(*FULL_DISK_S)
    with filled(target.stack.home) as taken:
        time.sleep(seconds)
    return f"{seconds:.0f} s, {taken >> 20} MiB taken"


def control_outage(target: Target, chance: Random, _: Excused) -> str:
    """The control Redis is dead, and nobody starts it again for a while."""
    seconds = chance.uniform(*OUTAGE_S)
    with _kept_down(target, "redis"):
        time.sleep(seconds)
    return f"{seconds:.0f} s"


def cut_append_only_file(target: Target, chance: Random, excused: Excused) -> str:
    """The control Redis is dead, and the end of its append-only file is lost."""
    with _kept_down(target, "redis"):
        path = target.append_only_file()
        if path is None:
            return "no file"
        size = path.stat().st_size
        cut = min(chance.randint(*CUT_BYTES), size)
        with path.open("r+b") as file:
            file.seek(size - cut)
            excused.job_ids |= {found.decode() for found in _JOB_ID.findall(file.read())}
            file.truncate(size - cut)
    return f"{cut} bytes"


#: Every fault, how often it is drawn, and whether it needs a disk of its own.
FAULTS: dict[str, tuple[Fault, int]] = {
    "kill -9": (kill, 8),
    "SIGSTOP": (stop, 4),
    "kill -9 of everything": (kill_everything, 1),
    "control Redis away": (control_outage, 1),
    "append-only file cut": (cut_append_only_file, 1),
    "disk full": (fill_disk, 1),
}


def possible_faults(target: Target) -> dict[str, int]:
    """The faults that can be done here, and how often each is drawn."""
    return {
        name: weight for name, (_, weight) in FAULTS.items() if name != "disk full" or target.has_own_disk
    }


@contextmanager
def _kept_down(target: Target, name: str) -> Iterator[None]:
    """kill -9 of a process while the supervisor is stopped, so that it stays away."""
    supervisor = target.supervisor
    _send(supervisor, signal.SIGSTOP)
    _kill(target.family(name))
    try:
        yield
    finally:
        _send(supervisor, signal.SIGCONT)


def _kill(family: Sequence[psutil.Process]) -> None:
    """kill -9; returns when all are dead."""
    for process in family:
        _send(process, signal.SIGKILL)
    for process in family:
        _wait_until_dead(process)


def _wait_until_dead(process: psutil.Process) -> None:
    """A killed child of a stopped parent stays a zombie: its files are closed all the same."""
    while psutil.pid_exists(process.pid):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.01)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
