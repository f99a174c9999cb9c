"""What processes use: memory, CPU time, cores."""

import os
from collections.abc import Mapping

import psutil  # type: ignore[import-untyped]

MB = 1e6
#: The UNet's device; and the ControlNet's, which the servers and the benchmark share.
UNET_CORE, CONTROLNET_CORE = 0, 1


def family(pid: int) -> list[int]:
    """A process and everything it has started, itself first."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def rss_mb(pid: int) -> float:
    """Resident memory of one process, in 10⁶ bytes; pages it shares with others count in full."""
    return float(psutil.Process(pid).memory_info().rss / MB)


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process and its living descendants have used so far."""
    times = [psutil.Process(member).cpu_times() for member in family(pid)]
    return float(sum(time.user + time.system for time in times))


def cpu_by_name(pids: Mapping[str, int]) -> dict[str, float]:
    """`cpu_s` of every process."""
    return {name: cpu_s(pid) for name, pid in pids.items()}


def pin(pid: int, core: int) -> None:
    """Bind a process, its descendants and all their threads to one core; threads to come inherit it."""
    for member in family(pid):
        for thread in psutil.Process(member).threads():
            try:
                os.sched_setaffinity(thread.id, {core})
            except ProcessLookupError:
                continue  # it has ended just now


def pin_this_process(*cores: int) -> None:
    """Bind all threads of this process to ``cores``; the processes it has started are left alone."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)
