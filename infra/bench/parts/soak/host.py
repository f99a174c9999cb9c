"""What the soak runs on: one control and one residual Redis, one S3 server, and workers that get killed."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from infra.local.environment import inherit
from infra.local.servers import (
    redis_command,
    running_process,
    wait_for_redis,
    wait_for_s3,
    weed_command,
    weed_environment,
)
from shared.settings import Settings
from workers.lora.cache.directory import PARTIAL_SUFFIX, CacheDirectory

READY_S = 60.0
#: Seconds between two polls of the cache.
POLL_S = 0.005


@contextmanager
def running_servers(settings: Settings, access_key: str, secret_key: str) -> Iterator[None]:
    """Fresh servers on the ports of ``settings``, their data under its home."""
    weed_env = dict(weed_environment(access_key, secret_key))
    folders = {name: settings.home / name for name in ("control", "residual", "s3")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    buckets = [settings.lora_bucket, settings.image_bucket]
    log, env = settings.home / "servers.log", inherit(weed_env)
    with ExitStack() as running:
        for command in (
            redis_command(settings.redis_port, folders["control"], persistent=True),
            redis_command(settings.residual_redis_port, folders["residual"], persistent=False),
            weed_command(settings.s3_port, folders["s3"], buckets),
        ):
            running.enter_context(running_process(command, cwd=settings.home, env=env, log=log))
        wait_for_redis(settings.redis_url, READY_S)
        wait_for_s3(settings, READY_S)
        yield


class Crew:
    """Worker processes by name; who is killed is started anew at once."""

    def __init__(self, settings: Settings, names: list[str]) -> None:
        self._log = (settings.home / "workers.log").open("ab")
        self._processes = {name: self._start(name) for name in names}

    def kill(self, name: str) -> None:
        """SIGKILL, wherever it is, and another one in its place."""
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._start(name)

    def dead(self) -> list[str]:
        """Who has ended though nobody killed it."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def wait(self, timeout_s: float) -> None:
        """Return once all have ended; those that do not are killed."""
        deadline = time.monotonic() + timeout_s
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "infra.bench.parts.soak.worker", name]
        return subprocess.Popen(words, stdout=self._log, stderr=subprocess.STDOUT)


class CacheWatch:
    """Looks at the cache's folder all the time, from outside."""

    def __init__(self, folder: CacheDirectory) -> None:
        self.most_bytes = 0
        self.polls = 0
        self._folder = folder
        self._arriving = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache watch", daemon=True)
        self._thread.start()

    def wait_for_arrival(self, timeout_s: float) -> bool:
        """Whether a file begins to arrive within that time."""
        self._arriving.clear()
        return self._arriving.wait(timeout_s)

    def close(self) -> None:
        """Stop the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(POLL_S):
            self.most_bytes = max(self.most_bytes, self._folder.used_bytes())
            self.polls += 1
            if any(entry.path.suffix == PARTIAL_SUFFIX for entry in self._folder.entries()):
                self._arriving.set()
