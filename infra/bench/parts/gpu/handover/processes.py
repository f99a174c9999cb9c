"""Both ends of the transport as processes, as their parent uses them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.bench.harness.ports import free_ports
from infra.bench.harness.report import CheckFailed
from infra.bench.parts.gpu.context import Context
from infra.bench.parts.gpu.handover.ends import Act, Answer, Command, Setup
from infra.local.environment import inherit
from infra.local.servers import (
    redis_command,
    residual_redis_environment,
    running_process,
    wait_for_redis,
)
from shared.settings import ROOT

READY_S, STOP_S = 30.0, 10.0
RESIDUAL_BYTES = 1 << 30


class EndProcess:
    """One end; `start` returns before it is ready, so that several start at once."""

    def __init__(self, setup: Setup, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.bench.parts.gpu.handover.ends"],
                cwd=ROOT,
                env=inherit({"OMP_NUM_THREADS": "1"}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._write(setup.model_dump_json())

    def wait_until_ready(self) -> None:
        """Raises `CheckFailed` with what it said if it does not start."""
        self._read()

    def do(self, act: Act, number: int = 0, **options: Any) -> Answer:
        """Have it do something, and wait for the answer."""
        self.tell(act, number, **options)
        return self.hear()

    def tell(self, act: Act, number: int = 0, **options: Any) -> None:
        """Have it do something, with ``options`` of its `Command`; `hear` returns what came of it."""
        self._write(Command(act=act, number=number, **options).model_dump_json())

    def hear(self) -> Answer:
        """The next answer."""
        return self._read()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Its input ends, and so does it."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = self._log.read_text(errors="replace").strip().splitlines()
            raise CheckFailed(f"an end of the transport ended: {text[-1] if text else 'no output'}")
        return Answer.model_validate_json(line)


class Handover:
    """A residual server, and how ends are started."""

    def __init__(self, context: Context, redis_url: str, folder: Path, stack: ExitStack) -> None:
        self._context, self._redis_url, self._folder, self._stack = context, redis_url, folder, stack
        self._count = 0

    def start(self, backend: str) -> EndProcess:
        """An end that prefers ``backend``; it is stopped at the latest with the block."""
        size, self._count = self._context.size, self._count + 1
        setup = Setup(
            redis_url=self._redis_url,
            device=self._context.device.type,
            dtype=size.dtype,
            shapes=size.residual_shapes,
            backend=backend,
            shared_memory_bytes=1 << 30,
        )
        end = EndProcess(setup, self._folder / f"end{self._count}.log")
        self._stack.callback(end.stop)
        return end


@contextmanager
def running_handover(context: Context) -> Iterator[Handover]:
    """A residual Redis of its own; all ends end with the block."""
    [port] = free_ports(1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        command = redis_command(port, folder, persistent=False, max_bytes=RESIDUAL_BYTES)
        environment = inherit(residual_redis_environment())
        server = running_process(command, cwd=folder, env=environment, log=folder / "redis.log")
        stack.enter_context(server)
        url = f"redis://127.0.0.1:{port}/0"
        wait_for_redis(url, READY_S)
        yield Handover(context, url, folder, stack)
