"""How much memory there is: of the machine that answers, and of the GPUs of live workers."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.registry.workers import Heartbeat

_STATM = Path("/proc/self/statm")
#: What A1111 answers where it cannot tell.
_UNAVAILABLE = {"error": "unavailable"}


def memory_of(workers: Iterable[Heartbeat]) -> dict[str, Any]:
    """``ram`` and ``cuda`` in bytes, as A1111 words them; what torch has allocated, workers do not report."""
    return {"ram": _ram(), "cuda": _gpus(workers)}


def _ram() -> dict[str, Any]:
    """``used`` is this process, and ``total`` the machine, as in A1111."""
    try:
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        used = int(_STATM.read_text().split()[1]) * page_bytes
        total = os.sysconf("SC_PHYS_PAGES") * page_bytes
    except (OSError, ValueError, IndexError):
        return _UNAVAILABLE
    return {"free": total - used, "used": used, "total": total}


def _gpus(workers: Iterable[Heartbeat]) -> dict[str, Any]:
    """All of them together; several workers of one GPU report the same one."""
    gpus = {
        (worker.host, worker.device): (worker.device_free_bytes, worker.device_total_bytes)
        for worker in workers
        if worker.device_free_bytes is not None and worker.device_total_bytes is not None
    }
    if not gpus:
        return _UNAVAILABLE
    free, total = (sum(values) for values in zip(*gpus.values(), strict=True))
    return {"system": {"free": free, "used": total - free, "total": total}}
