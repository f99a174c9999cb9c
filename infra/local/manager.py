"""honcho's process manager with habits of our own: logs in files, and servers stop after their clients."""

import os
import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import honcho.manager
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer

from infra.local.environment import inherit
from infra.local.plan import Process
from infra.local.respawn import GRACE_S
from shared.settings import ROOT

#: Clients stop, then servers. honcho kills what is left this long after the first of them has ended.
STOP_S = 2 * GRACE_S + 8


class Fleet(Manager):
    """Runs ``processes`` under `infra.local.respawn`, with ``watch`` in a thread beside them."""

    def __init__(
        self,
        processes: Sequence[Process],
        home: Path,
        environment: Mapping[str, str],
        output: IO[str] | None,
        watch: Callable[[], None],
    ) -> None:
        super().__init__(Logs(home / "logs", output))
        honcho.manager.KILL_WAIT = STOP_S - 2  # honcho has no other way to say it
        for process in processes:
            pid_file = home / "pids" / f"{process.name}.pid"
            env = inherit({**environment, **process.environment})
            self.add_process(process.name, _kept_running(process, pid_file), env=env, cwd=str(ROOT))
        self._servers = {process.name for process in processes if process.is_server}
        self._told: set[str] = set()
        self._is_stopping = False
        self._watch = threading.Thread(target=watch, name="watch", daemon=True)

    def terminate(self) -> None:
        """Tell the clients to stop and, once none is left, the servers.

        honcho calls this on a signal and when a process has ended; from then on `_system_print` does.
        """
        self._is_stopping = True
        if not self._all_started():
            return  # honcho knows no pid yet
        running = {name for name, state in self._processes.items() if "returncode" not in state}
        for name in (running - self._servers or running) - self._told:
            self._told.add(name)
            self._procmgr.terminate(self._processes[name]["pid"])

    def _start(self) -> None:
        super()._start()
        self._watch.start()  # only now: honcho forks

    def _system_print(self, data: Any) -> None:
        """honcho tells here that a process has started or stopped."""
        self._printer.write(Message("line", data, self._clock.now(), SYSTEM_PRINTER_NAME, None))
        if self._is_stopping:
            self.terminate()


class Logs(Printer):
    """Appends what each process says to its own file, and shows it where an ``output`` is given."""

    def __init__(self, folder: Path, output: IO[str] | None) -> None:
        super().__init__(output)
        self._folder = folder

    def write(self, message: Message) -> None:
        """Take one line of one process."""
        line = message.data if isinstance(message.data, bytes) else message.data.encode()
        with (self._folder / f"{message.name}.log").open("ab") as file:
            file.write(line)
        if self.output is not None:
            super().write(message)


def _kept_running(process: Process, pid_file: Path) -> str:
    respawn = [sys.executable, "-m", "infra.local.respawn"]
    options = ["--pid-file", str(pid_file), "--owner", str(os.getpid()), "--"]
    return "exec " + shlex.join([*respawn, *options, *process.command])
