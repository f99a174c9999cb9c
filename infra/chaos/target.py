"""The fleet under test: its processes, clients of its servers, its disk."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests
from redis import Redis

from infra.local.home_lock import find_holder
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack, detach
from shared.keys import LOCAL
from shared.settings import Settings

#: Timeout of a request: a stopped process must not block the clients.
ANSWER_S = 10.0


@dataclass(frozen=True)
class Target:
    """A running stack. ``has_own_disk``: its home is a file system of its own, which may be filled.

    ``tenants``: their API keys by their ids; none: the API asks for no keys, and all jobs are `LOCAL`'s.
    """

    stack: Stack
    settings: Settings
    has_own_disk: bool
    tenants: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def submitters(self) -> Sequence[str]:
        """The tenants whose jobs are submitted."""
        return list(self.tenants) or [LOCAL]

    def headers(self, tenant: str | None = None) -> dict[str, str]:
        """Those of a request of a tenant, or of the admin."""
        key = self.tenants.get(tenant or "") or self._admin_key
        return {"Authorization": f"Bearer {key}"} if key else {}

    @cached_property
    def _admin_key(self) -> str | None:
        return self.stack.api_key

    @cached_property
    def control(self) -> "Redis":
        """A client of the control Redis, for checks only."""
        return Redis.from_url(self.stack.env["SWIFT_REDIS_URL"], decode_responses=True, socket_timeout=30)

    @cached_property
    def residual(self) -> "Redis":
        """A client of the residual Redis, for checks only."""
        url = self.stack.env["SWIFT_RESIDUAL_REDIS_URL"]
        return Redis.from_url(url, decode_responses=True, socket_timeout=30)

    @cached_property
    def s3(self) -> Any:
        """A client of the S3 server, with the stack's credentials."""
        return make_s3_client(self.stack.env)

    def process_tree(self, name: str) -> list[psutil.Process]:
        """A process of the stack, then its descendants; none while it does not run."""
        try:
            process = psutil.Process(self.stack.pids()[name])
            return [process, *process.children(recursive=True)]
        except (KeyError, psutil.NoSuchProcess):
            return []

    @property
    def supervisor(self) -> psutil.Process:
        """The process that starts and restarts the others."""
        pid = find_holder(self.stack.home)
        assert pid, "the stack runs"
        return psutil.Process(pid)

    def start_again(self) -> None:
        """Start the stack again after all its processes have ended."""
        detach(self.settings)

    def is_healthy(self) -> bool:
        """Whether every process runs, every server answers and every worker sends heartbeats."""
        pids = self.stack.pids()
        try:
            ready = requests.get(f"{self.stack.api_url}/readyz", timeout=ANSWER_S)
        except requests.RequestException:
            return False
        is_running = all(name in pids and _is_running(pids[name]) for name in self.process_names)
        return is_running and ready.ok and self.live_workers() == self.worker_names

    def live_workers(self, kind: str = "") -> list[str]:
        """The workers whose processes run and send heartbeats; none without an answer of the API."""
        pids = self.stack.pids()
        try:
            fleet = requests.get(f"{self.stack.api_url}/v1/fleet", headers=self.headers(), timeout=ANSWER_S)
            reported = {worker["pid"] for worker in fleet.json()["workers"]}
        except (requests.RequestException, ValueError, KeyError):
            return []
        return [
            name
            for name in self.worker_names
            if name.startswith(kind) and pids.get(name) in reported and _is_running(pids[name])
        ]

    @cached_property
    def worker_names(self) -> list[str]:
        """The names of all workers."""
        return [name for name in self.process_names if name.startswith(("unet", "controlnet"))]

    @cached_property
    def process_names(self) -> list[str]:
        """The names of all processes of the stack, read while all run."""
        return sorted(self.stack.pids())

    def append_only_file(self) -> Path | None:
        """The file that the control Redis appends to."""
        files = sorted((self.stack.home / "redis").rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        return files[-1] if files else None


def read_job(api_url: str, job_id: str, headers: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """A job as the API returns it; None if unknown. Without an answer, its status is ``unknown: ERROR``."""
    try:
        answer = requests.get(f"{api_url}/v1/jobs/{job_id}", headers=headers, timeout=ANSWER_S)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
    except requests.RequestException as error:
        return {"status": f"unknown: {type(error).__name__}", "error": None, "images": []}
    return job


def _is_running(pid: int) -> bool:
    """Whether the process is alive: a killed one is a zombie until its parent has waited for it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def own_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """Mount a small file system at ``folder``; False where this user may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@contextmanager
def filled(folder: Path) -> Iterator[int]:
    """Fill the file system of ``folder`` within the block; yields how many bytes were free."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        taken = 0
        while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > 0:
            try:
                os.posix_fallocate(file.fileno(), taken, free)
                taken += free
            except OSError:  # another process has taken some of it meanwhile
                if free < 1 << 20:
                    break
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), taken, free // 2)
                    taken += free // 2
    try:
        yield taken
    finally:
        ballast.unlink(missing_ok=True)
