"""Worker processes on timed devices, which join a running stack through its Redis."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from infra.bench.timed.models import NAME
from infra.local.environment import inherit
from shared.settings import ROOT

START_S, STOP_S = 180.0, 30.0
_SERIAL = count(1)


@contextmanager
def devices(fleet: Fleet, *, unets: int = 0, controlnets: tuple[str, ...] = ()) -> Iterator[None]:
    """``unets`` UNet workers, and a ControlNet worker for each of ``controlnets``, which may be named
    twice."""
    wanted = [
        (f"timed-unet{next(_SERIAL)}", "unet_app", "SWIFT_WORKER_MODELS", NAME, 1) for _ in range(unets)
    ]
    wanted += [
        (f"{controlnet}-{next(_SERIAL)}", "controlnet_app", "SWIFT_WORKER_CONTROLNETS", controlnet, 2)
        for controlnet in controlnets
    ]
    processes = [_start(fleet, *one) for one in wanted]
    try:
        _await(fleet, {one[0] for one in wanted}, processes)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=STOP_S)


def _start(
    fleet: Fleet, name: str, module: str, variable: str, serves: str, concurrency: int
) -> "subprocess.Popen[bytes]":
    options = ["--pool=threads", f"--concurrency={concurrency}", "-E", "--without-gossip", "--without-mingle"]
    words = ["-m", "celery", "-A", f"infra.bench.timed.{module}", "worker", "-n", f"{name}@%h", *options]
    with (fleet.stack.home / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=inherit({**fleet.stack.env, variable: serves, "OMP_NUM_THREADS": "1"}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await(fleet: Fleet, names: set[str], processes: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + START_S
    while missing := names - {name.split("@")[0] for name in fleet.workers()}:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise CheckFailed(f"timed devices did not start: {', '.join(sorted(missing))}; see logs")
        time.sleep(0.2)
