"""Traces the GPU's work in a worker's process, from when a file appears until it is gone.

The times of kernels and copies come from CUPTI by `torch.profiler`, without the CPU's side, which costs
a few microseconds a kernel. What comes out are intervals in nanoseconds by this machine's clock.
"""

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Files in the home of a fleet: the request, that tracing has begun, and what was traced.
REQUEST, STARTED, TRACE = "trace-request", "trace-started", "trace.json"
POLL_S = 0.05
MS_NS = 1e6
OTHER_CLOCK_NS = 3600 * 10**9

Interval = tuple[int, int]


def trace_on_request(home: Path) -> None:
    """Watch for requests in a thread of its own."""
    threading.Thread(target=_watch, args=(home,), name="trace requests", daemon=True).start()


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of intervals, in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def busy_share(intervals: Iterable[Interval], start_ns: float, end_ns: float) -> float:
    """The share of a window that intervals cover."""
    clipped = ((max(start, start_ns), min(end, end_ns)) for start, end in merge(intervals))
    return sum(end - start for start, end in clipped if end > start) / (end_ns - start_ns)


def gaps_ms(intervals: Iterable[Interval], start_ns: float, end_ns: float) -> list[float]:
    """How long nothing ran, each time, within a window."""
    inside = [(s, e) for s, e in merge(intervals) if e > start_ns and s < end_ns]
    edges = [start_ns, *(edge for interval in inside for edge in interval), end_ns]
    return [
        (after - before) / MS_NS
        for before, after in zip(edges[::2], edges[1::2], strict=True)
        if after > before
    ]


def _watch(home: Path) -> None:
    while True:
        if (home / REQUEST).exists():
            traced = _trace(home)
            new = home / f"{TRACE}.new"
            new.write_text(json.dumps(traced))
            new.replace(home / TRACE)
        time.sleep(POLL_S)


def _trace(home: Path) -> dict[str, Any]:
    import torch

    activity = torch.profiler.ProfilerActivity
    kind = activity.CUDA if torch.cuda.is_available() else activity.CPU
    began_ns = time.time_ns()
    with torch.profiler.profile(activities=[kind]) as profiler:
        (home / STARTED).touch()  # the first start of CUPTI takes seconds
        while (home / REQUEST).exists():
            time.sleep(POLL_S)
    # Its own list: the public one builds an object of Python for each kernel and their tree, for minutes.
    results: Any = None if profiler.profiler is None else profiler.profiler.kineto_results
    events = [] if results is None else results.events()
    wanted = "CUDA" if torch.cuda.is_available() else "CPU"
    # Its times are since the epoch, but for versions that count from the machine's start.
    shift_ns = 0 if results is None else began_ns - results.trace_start_ns()
    shift_ns = shift_ns if abs(shift_ns) > OTHER_CLOCK_NS else 0
    intervals = [
        (event.start_ns() + shift_ns, event.start_ns() + event.duration_ns() + shift_ns)
        for event in events
        if wanted in str(event.device_type())
    ]
    return {"kernels": len(intervals), "intervals": merge(intervals)}
