"""A whole stack for the length of a ``with`` block: what the demo, benchmarks and fleet tests run on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local.checks import CannotStart
from infra.local.environment import inherit, read_env_file, variables_of
from infra.local.home_lock import find_holder
from infra.local.ready import read_pids
from infra.local.supervision.supervisor import STOP_S
from infra.local.up import READY_S
from shared.errors import SwiftError
from shared.settings import ROOT, Settings

POLL_S = 0.1
#: The output of a stack that runs in the background, a file of its home.
OUTPUT = "stack.log"


class CannotStop(SwiftError):
    """A stack does not stop."""

    code = "cannot_stop"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running stack. ``env`` is what stands in ``.run/env``: addresses, settings, credentials."""

    home: Path
    env: Mapping[str, str]

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return self.env["API_URL"]

    @property
    def api_key(self) -> str | None:
        """The API key with all scopes; ``None`` if the API asks for none."""
        file = self.env.get("SWIFT_API_KEY_FILE")
        return Path(file).read_text().strip() if file else None

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        return self.env["FLOWER_URL"]

    def pids(self) -> dict[str, int]:
        """The pid of every process right now, by name: ``redis``, ``s3``, ``api``, ``unet1``, …"""
        return read_pids(self.home)

    def log(self, name: str) -> str:
        """The log of a process so far."""
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")


@contextmanager
def running_stack(
    settings: Settings, *, env: Mapping[str, str] | None = None, ready_s: float = READY_S
) -> Iterator[Stack]:
    """Start a stack as a process of its own, wait until it is ready, stop it at the end.

    ``env`` holds further variables for its processes. Raises `CannotStart` with the stack's output.
    """
    process, home = start(settings, env=env, ready_s=ready_s, owner=os.getpid())
    try:
        _await(process, home)
        yield Stack(home=home, env=read_env_file(home / "env"))
    finally:
        process.terminate()
        process.wait(timeout=STOP_S)


def detach(settings: Settings, *, ready_s: float = READY_S) -> str:
    """Start a stack that runs on when this process ends; returns its output once it is ready.

    Raises `CannotStart` with the stack's output.
    """
    process, home = start(settings, ready_s=ready_s)
    try:
        _await(process, home)
    except BaseException:
        process.terminate()
        process.wait(timeout=STOP_S)
        raise
    return (home / OUTPUT).read_text(errors="replace")


def stop(home: Path) -> bool:
    """Stop the stack that holds ``home`` and wait until nothing of it is left; returns whether there was one.

    Raises `CannotStop`.
    """
    pid = find_holder(home)
    if pid is None:
        return False
    if pid == 0:
        raise CannotStop(f"the pid of the stack in {home} is not known: its lock file has no number")
    deadline = time.monotonic() + STOP_S
    with suppress(ProcessLookupError):  # what it has started may hold the lock for a moment
        os.kill(pid, signal.SIGTERM)
    while find_holder(home) is not None:
        if time.monotonic() > deadline:
            raise CannotStop(f"the stack in {home} has not stopped after {STOP_S:g} s: kill -9 {pid}")
        time.sleep(POLL_S)
    return True


def start(
    settings: Settings, *, env: Mapping[str, str] | None = None, ready_s: float, owner: int | None = None
) -> tuple["subprocess.Popen[bytes]", Path]:
    """Start a stack as a process of its own; returns it and its folder. It stops when ``owner`` is gone."""
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    options = ["--quiet", f"--ready-within={ready_s}"]
    options += [] if owner is None else [f"--owner={owner}"]
    # Only the addresses, Flower's login and what stops the stack are written there: it stays small.
    with os.fdopen(os.open(home / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "up", *options],
            cwd=ROOT,
            env=inherit({**variables_of(settings), **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we stop it
        )
    return process, home


def _await(process: "subprocess.Popen[bytes]", home: Path) -> None:
    """The stack has its own deadline; it ends when that has passed."""
    ready = home / "ready"
    while not (ready.exists() and ready.read_text() == str(process.pid)):
        if process.poll() is not None:
            output = (home / OUTPUT).read_text(errors="replace").strip()
            raise CannotStart(output or "the stack ended without any output")
        time.sleep(POLL_S)
