"""Worker processes on timed devices, which join a running stack through its Redis."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from infra.bench.timed.models import NAME
from infra.local.environment import inherit
from infra.local.plan import JOBS_AT_A_TIME
from shared.registry.workers import WorkerKind
from shared.settings import ROOT

START_S, STOP_S = 180.0, 30.0
_SERIAL = count(1)


class _Device(NamedTuple):
    name: str
    kind: WorkerKind
    variable: str  # the setting that says what it serves
    serves: str


@contextmanager
def devices(
    fleet: Fleet,
    *,
    unets: int = 0,
    models: str = NAME,
    controlnets: tuple[str, ...] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[list[int]]:
    """``unets`` UNet workers, and a ControlNet worker for each of ``controlnets``: one or several, comma
    separated.

    ``models``: those that UNet workers serve, comma separated; ``environment``: further settings of all.
    Yields the processes' ids.
    """
    wanted = [
        _Device(f"timed-unet{next(_SERIAL)}", "unet", "SWIFT_WORKER_MODELS", models) for _ in range(unets)
    ]
    wanted += [
        _Device(f"{names.partition(',')[0]}-{next(_SERIAL)}", "controlnet", "SWIFT_WORKER_CONTROLNETS", names)
        for names in controlnets
    ]
    processes = [_start(fleet, environment, device) for device in wanted]
    try:
        _await(fleet, {device.name for device in wanted}, processes)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=STOP_S)


def _start(fleet: Fleet, environment: Mapping[str, str], device: _Device) -> "subprocess.Popen[bytes]":
    name, kind = device.name, device.kind
    options = [f"--concurrency={JOBS_AT_A_TIME[kind]}", "-E", "--without-gossip", "--without-mingle"]
    words = ["-m", "celery", "-A", f"infra.bench.timed.{kind}_app", "worker", "-n", f"{name}@%h"]
    words += ["--pool=threads", *options]
    served = {device.variable: device.serves, "OMP_NUM_THREADS": "1"}
    with (fleet.stack.home / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=inherit({**fleet.stack.env, **environment, **served}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await(fleet: Fleet, names: set[str], processes: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + START_S
    while missing := names - {name.split("@")[0] for name in fleet.workers()}:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise CheckFailed(f"timed devices did not start: {', '.join(sorted(missing))}; see logs")
        time.sleep(0.2)
