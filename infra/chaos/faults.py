"""Faults in a running fleet. Each function injects one and undoes it before it returns."""

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from random import Random

import psutil  # type: ignore[import-untyped]

from infra.chaos.interruptions import KILL, SIGTERM, Interruption, running_jobs
from infra.chaos.target import Target, filled
from infra.local.home_lock import find_holder

#: How long a process is stopped, a disk full or the control Redis down: shorter and longer than a lease.
STOP_S, FULL_DISK_S, OUTAGE_S = (1.0, 12.0), (4.0, 10.0), (6.0, 20.0)
#: How much is cut off the end of the append-only file.
CUT_BYTES = (1_000, 150_000)
#: A stopped worker hands its job over within seconds; the supervisor waits no longer.
STOPPED_S = 10.0
#: Job ids in keys in the append-only file.
_JOB_ID = re.compile(rb"swift:job:([0-9a-f]{16})")


class Consequences:
    """What faults have done to jobs."""

    def __init__(self) -> None:
        self.excused: set[str] = set()  # that a truncated file may have lost or reset to an earlier state
        self.interruptions: list[Interruption] = []
        self.kills: Counter[str] = Counter()  # with SIGKILL, by the name of the process


Fault = Callable[[Target, Random, Consequences], str]


def kill_worker(target: Target, rng: Random, consequences: Consequences) -> str:
    """Kill one worker with SIGKILL."""
    name = _choose_worker(target, rng)
    processes = target.process_tree(name)
    for process in processes:
        _send(process, signal.SIGSTOP)  # so that it takes no other job before it is killed
    at_s = time.time()
    jobs = running_jobs(target.control, name)
    _kill(processes)
    consequences.kills[name] += 1
    consequences.interruptions += [Interruption(KILL, job_id, at_s) for job_id in jobs]
    return f"{name}, {len(jobs)} jobs"


def stop_worker(target: Target, rng: Random, consequences: Consequences) -> str:
    """Send SIGTERM to one worker, which hands its job over; returns when it has ended."""
    name = _choose_worker(target, rng)
    jobs = running_jobs(target.control, name)
    at_s = time.time()
    for process in target.process_tree(name)[:1]:
        _send(process, signal.SIGTERM)
        with suppress(psutil.TimeoutExpired):
            process.wait(STOPPED_S)
    consequences.interruptions += [Interruption(SIGTERM, job_id, at_s) for job_id in jobs]
    return f"{name}, {len(jobs)} jobs, ended after {time.time() - at_s:.1f} s"


def kill_server(target: Target, rng: Random, consequences: Consequences) -> str:
    """Kill one process that is no worker, and its children, with SIGKILL."""
    servers = [name for name in target.process_names if name not in target.worker_names]
    name = rng.choice(least_killed(servers, consequences.kills))
    _kill(target.process_tree(name))
    consequences.kills[name] += 1
    return name


def kill_everything(target: Target, _: Random, consequences: Consequences) -> str:
    """Kill the supervisor with SIGKILL, which ends every process; then start the stack again."""
    consequences.kills.update(["supervisor", *target.process_names])
    _send(target.supervisor, signal.SIGKILL)
    while find_holder(target.stack.home) is not None:
        time.sleep(0.05)
    target.start_again()
    return "started again"


def stop(target: Target, rng: Random, _: Consequences) -> str:
    """Stop a process with SIGSTOP for a while, then continue it: it neither runs nor is dead."""
    name, seconds = rng.choice(target.process_names), rng.uniform(*STOP_S)
    processes = target.process_tree(name)
    for process in processes:
        _send(process, signal.SIGSTOP)
    time.sleep(seconds)
    for process in processes:
        _send(process, signal.SIGCONT)
    return f"{name}, {seconds:.0f} s"


def fill_disk(target: Target, rng: Random, _: Consequences) -> str:
    """Leave no space under SWIFT_HOME, for logs, pid files, S3 and the append-only file."""
    seconds = rng.uniform(*FULL_DISK_S)
    with filled(target.stack.home) as taken:
        time.sleep(seconds)
    return f"{seconds:.0f} s, {taken >> 20} MiB taken"


def control_outage(target: Target, rng: Random, consequences: Consequences) -> str:
    """Kill the control Redis, and keep it down for a while."""
    seconds = rng.uniform(*OUTAGE_S)
    with _kept_down(target, "redis", consequences):
        time.sleep(seconds)
    return f"{seconds:.0f} s"


def protect_from_cuts(target: Target) -> None:
    """Write more than a cut takes: what was written before the run stays."""
    target.control.set("swift:chaos", "x" * CUT_BYTES[1], ex=1)


def cut_append_only_file(target: Target, rng: Random, consequences: Consequences) -> str:
    """Kill the control Redis, and truncate its append-only file before it starts again."""
    with _kept_down(target, "redis", consequences):
        path = target.append_only_file()
        if path is None:
            return "no file"
        size = path.stat().st_size
        cut = min(rng.randint(*CUT_BYTES), size)
        with path.open("r+b") as file:
            file.seek(size - cut)
            consequences.excused |= {found.decode() for found in _JOB_ID.findall(file.read())}
            file.truncate(size - cut)
    return f"{cut} bytes"


#: Every fault by its name on the command line, with its relative frequency.
FAULTS: dict[str, tuple[Fault, int]] = {
    KILL: (kill_worker, 4),
    SIGTERM: (stop_worker, 4),
    "kill-server": (kill_server, 4),
    "sigstop": (stop, 4),
    "kill-all": (kill_everything, 1),
    "redis-away": (control_outage, 1),
    "cut-aof": (cut_append_only_file, 1),
    "disk-full": (fill_disk, 1),
}
#: Faults after which each attempt of a job can be accounted for.
ACCOUNTABLE = frozenset({KILL, SIGTERM})


def possible_faults(target: Target) -> dict[str, int]:
    """The faults that can be injected here, with their relative frequencies."""
    return {
        name: weight for name, (_, weight) in FAULTS.items() if name != "disk-full" or target.has_own_disk
    }


def least_killed(names: Sequence[str], kills: Mapping[str, int]) -> list[str]:
    """Those that were killed least often, so that a run of some faults has killed each of them."""
    fewest = min(kills.get(name, 0) for name in names)
    return [name for name in names if kills.get(name, 0) == fewest]


def _choose_worker(target: Target, rng: Random) -> str:
    """One that has loaded its model, so that the same one is not ended again while it starts."""
    return rng.choice(target.live_workers() or target.worker_names)


@contextmanager
def _kept_down(target: Target, name: str, consequences: Consequences) -> Iterator[None]:
    """Kill a process, and keep it down by stopping the supervisor."""
    supervisor = target.supervisor
    _send(supervisor, signal.SIGSTOP)
    _kill(target.process_tree(name))
    consequences.kills[name] += 1
    try:
        yield
    finally:
        _send(supervisor, signal.SIGCONT)


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kill with SIGKILL; returns when all are dead."""
    for process in processes:
        _send(process, signal.SIGKILL)
    for process in processes:
        _wait_until_dead(process)


def _wait_until_dead(process: psutil.Process) -> None:
    """Wait until a process is dead: a zombie, with its files closed, if its parent is stopped."""
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
