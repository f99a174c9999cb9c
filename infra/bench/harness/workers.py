"""Worker processes beside those of a running stack, which join it through its Redis."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.report import CheckFailed
from infra.local.environment import inherit
from infra.local.plan import ALLOCATOR, JOBS_AT_A_TIME
from shared.registry.workers import WorkerKind
from shared.settings import ROOT

START_S, STOP_S, LOADED_S = 180.0, 30.0, 180.0


class Worker(NamedTuple):
    """A process to start: its name, its Celery app, and settings beside the stack's own."""

    name: str
    kind: WorkerKind
    app: str
    environment: Mapping[str, str]


@contextmanager
def running_workers(fleet: Fleet, workers: Sequence[Worker]) -> Iterator[list[int]]:
    """The processes' ids, in order, once all take part; raises `CheckFailed` if one does not."""
    processes = [_start(fleet, worker) for worker in workers]
    try:
        _await(fleet, {worker.name for worker in workers}, processes)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=STOP_S)


def describe_workers(fleet: Fleet, pids: Sequence[int]) -> list[dict[str, Any]]:
    """What these processes last reported of themselves."""
    workers = json.loads(fleet.ask("GET", "/v1/fleet"))["workers"]
    return [worker for worker in workers if worker["pid"] in pids]


def wait_until_loaded(fleet: Fleet, pids: Sequence[int]) -> None:
    """Return once each has loaded all models and ControlNets that it may; raises `CheckFailed`."""
    deadline = time.monotonic() + LOADED_S
    while missing := [name for worker in describe_workers(fleet, pids) for name in _missing(worker)]:
        if time.monotonic() > deadline:
            raise CheckFailed(f"not loaded after {LOADED_S:.0f} s: {', '.join(missing)}")
        time.sleep(0.2)


def _missing(worker: Mapping[str, Any]) -> set[str]:
    served = {*worker["serves"], *worker["served_controlnets"]}
    return served - {*worker["loaded"], *worker["loaded_controlnets"]}


def _start(fleet: Fleet, worker: Worker) -> "subprocess.Popen[bytes]":
    options = [f"--concurrency={JOBS_AT_A_TIME[worker.kind]}", "-E", "--without-gossip", "--without-mingle"]
    words = ["-m", "celery", "-A", worker.app, "worker", "-n", f"{worker.name}@%h"]
    words += ["--pool=threads", *options]
    cores = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **ALLOCATOR}
    with (fleet.stack.home / "logs" / f"{worker.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=inherit({**fleet.stack.env, **cores, **worker.environment}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await(fleet: Fleet, names: set[str], processes: "list[subprocess.Popen[bytes]]") -> None:
    deadline = time.monotonic() + START_S
    while missing := names - {name.split("@")[0] for name in fleet.workers()}:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise CheckFailed(f"workers did not start: {', '.join(sorted(missing))}; see logs")
        time.sleep(0.2)
