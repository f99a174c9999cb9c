"""A whole stack for the length of a ``with`` block: what the demo, benchmarks and fleet tests run on."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.checks import CannotStart
from infra.local.environment import inherit, read_env_file, variables_of
from infra.local.manager import STOP_S
from infra.local.ready import read_pids
from infra.local.up import READY_S
from shared.settings import ROOT, Settings

POLL_S = 0.1


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
    def flower_url(self) -> str:
        """Where Flower is."""
        return self.env["FLOWER_URL"]

    def pids(self) -> dict[str, int]:
        """The pid of every process right now, by name: ``redis``, ``s3``, ``api``, ``unet1``, …"""
        return read_pids(self.home)

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")


@contextmanager
def running_stack(
    settings: Settings, *, env: Mapping[str, str] | None = None, ready_s: float = READY_S
) -> Iterator[Stack]:
    """Start a stack as a process of its own, wait until it is ready, stop it at the end.

    ``env`` holds further variables for its processes. Raises `CannotStart` with what the stack said.
    """
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    said = home / "stack.log"
    options = ["--quiet", f"--ready-within={ready_s}", f"--owner={os.getpid()}"]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "up", *options],
            cwd=ROOT,
            env=inherit({**variables_of(settings), **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we stop it
        )
    try:
        _await(process, home / "ready", said)
        yield Stack(home=home, env=read_env_file(home / "env"))
    finally:
        process.terminate()
        process.wait(timeout=STOP_S)


def _await(process: "subprocess.Popen[bytes]", ready: Path, said: Path) -> None:
    """The stack has its own deadline; it ends when that has passed."""
    while not (ready.exists() and ready.read_text() == str(process.pid)):
        if process.poll() is not None:
            raise CannotStart(said.read_text(errors="replace").strip() or "the stack ended without a word")
        time.sleep(POLL_S)
