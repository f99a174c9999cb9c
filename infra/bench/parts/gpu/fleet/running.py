"""Starts the fleet of `stack` and waits until it takes work; what it said is shown if it does not."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.bench.harness.fleet import Fleet
from infra.bench.harness.ports import stack_ports
from infra.bench.harness.report import CheckFailed
from infra.local.devices.assignment import worker_devices
from infra.local.environment import inherit, read_env_file, variables_of
from infra.local.ready import read_pids, read_restarts
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack
from infra.local.supervision.supervisor import STOP_S
from shared.settings import ROOT, Settings
from workers.engines.compiled import COMPILE_FOLDER

POLL_S, ASK_S = 0.2, 5.0
#: A worker that ended so often does not start.
GIVE_UP_AFTER = 3
#: Lines of a log that are shown if the fleet does not start.
SHOWN_LINES = 12


@contextmanager
def running_fleet(
    home: Path,
    changes: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    ready_s: float,
    compiled: Path | None = None,
) -> Iterator[Fleet]:
    """A fresh fleet in ``home`` with these settings; raises `CheckFailed` with what its logs say.

    Its workers keep what they compile in the folder ``compiled``.
    """
    settings = Settings.model_validate({"home": home, **stack_ports(), **changes})
    home.mkdir(parents=True)
    if compiled is not None:
        compiled.mkdir(parents=True, exist_ok=True)
        (home / COMPILE_FOLDER).symlink_to(compiled, target_is_directory=True)
    with (home / "stack.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.bench.parts.gpu.fleet.stack", str(os.getpid())],
            cwd=ROOT,
            env=inherit({**variables_of(settings), **environment}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _ready(home, process, sum(map(len, worker_devices(settings).values())), ready_s)
    finally:
        process.terminate()
        process.wait(timeout=STOP_S)


def _ready(home: Path, process: "subprocess.Popen[bytes]", workers: int, ready_s: float) -> Fleet:
    deadline = time.monotonic() + ready_s
    has_buckets, why = False, "its processes have not started"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CheckFailed(f"the fleet ended: {_tail(home / 'stack.log')}")
        if (home / "env").exists():
            fleet = Fleet(Stack(home=home, env=read_env_file(home / "env")))
            has_buckets = has_buckets or _make_buckets(fleet.stack.env)
            missing = _missing(fleet, workers) if has_buckets else "S3 does not answer"
            if missing is None:
                return fleet
            why = missing
        for name in read_pids(home):
            if len(read_restarts(home, name)) >= GIVE_UP_AFTER:
                raise CheckFailed(f"{name} does not start: {_tail(home / 'logs' / f'{name}.log')}")
        time.sleep(POLL_S)
    logs = "; ".join(f"{name}: {_tail(home / 'logs' / f'{name}.log', 3)}" for name in read_pids(home))
    raise CheckFailed(f"the fleet is not ready after {ready_s:.0f} s: {why}; {logs}")


def _missing(fleet: Fleet, workers: int) -> str | None:
    """What a fleet lacks, or ``None``."""
    try:
        answered = json.loads(fleet.ask("GET", "/v1/fleet"))["workers"]
    except (OSError, http.client.HTTPException, CheckFailed, ValueError) as error:
        return f"the API does not answer: {type(error).__name__}"
    pids = set(fleet.stack.pids().values())
    own: list[dict[str, Any]] = [worker for worker in answered if worker["pid"] in pids]
    if len(own) < workers:
        return f"{len(own)} of {workers} workers have reported themselves"
    reasons = [reason for worker in own for reason in worker["unavailable_reasons"]]
    return "; ".join(reasons) or None


def _make_buckets(env: Mapping[str, str]) -> bool:
    """Make both buckets, as a server that is not our own has none; whether they are there."""
    client = make_s3_client(env)
    try:
        for name in (env["SWIFT_LORA_BUCKET"], env["SWIFT_IMAGE_BUCKET"]):
            try:
                client.head_bucket(Bucket=name)
            except ClientError:
                client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key=".ready", Body=b"")
    except (BotoCoreError, ClientError):
        return False
    return True


def _tail(log: Path, lines: int = SHOWN_LINES) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "no log"
    return " | ".join(line for line in text.splitlines()[-lines:] if line.strip()) or "an empty log"
