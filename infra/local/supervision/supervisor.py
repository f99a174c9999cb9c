"""Runs the processes of a stack: starts them, restarts those that end, stops clients before servers.

One process watches all of them (`infra/adr/0024`). If it is killed, the kernel kills them too: nothing runs
on without supervision.
"""

import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from infra.local.plan import Process
from infra.local.supervision.log_files import LogFile
from infra.local.supervision.supervised_process import GRACE_S, SupervisedProcess
from infra.local.supervision.terminal import Terminal

#: Clients stop, then servers; a little more for what the system needs.
STOP_S = 2 * GRACE_S + 8
#: Clients start once the servers accept connections, or after this long.
SERVERS_S = 5.0
#: Seconds between two polls of all processes; the second while clients wait for servers.
POLL_S, START_POLL_S = 0.25, 0.05
#: The log of the supervisor itself.
OWN_LOG = "supervisor"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs processes until a signal, or until `stop` is called. It catches signals: one in a process."""

    def __init__(
        self,
        processes: Sequence[Process],
        home: Path,
        environment: Mapping[str, str],
        logs: Mapping[str, LogFile],
        terminal: Terminal,
        inherited: Sequence[int] = (),
    ) -> None:
        """``logs``: a file for each process and for `OWN_LOG`; ``inherited``: open files they all get."""
        self._runs = [
            SupervisedProcess(
                process,
                {**environment, **process.environment},
                home / "pids" / f"{process.name}.pid",
                logs[process.name],
                terminal,
                inherited,
            )
            for process in processes
        ]
        self._log = logs[OWN_LOG]
        self._terminal = terminal
        self._signal = 0
        self._is_stopping = False

    def run(self) -> int:
        """Run until everything has stopped; returns the signal that asked for it, or 0."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._take_signal)
        is_released, deadline = False, time.monotonic() + SERVERS_S
        while not self._is_stopping or any(run.is_running for run in self._runs):
            is_released = is_released or self._servers_accept() or time.monotonic() > deadline
            for run in self._runs:
                if self._is_stopping:
                    self._stop(run)
                elif run.process.is_server or is_released:
                    self._ensure_running(run)
            self._read(POLL_S if is_released else START_POLL_S)
        return self._signal

    def stop(self) -> None:
        """Stop all processes; may be called from any thread."""
        self._is_stopping = True

    def _take_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        self.stop()

    def _servers_accept(self) -> bool:
        return all(_accepts(run.process.port) for run in self._runs if run.process.port is not None)

    def _ensure_running(self, run: SupervisedProcess) -> None:
        if run.is_running:
            run.write_pid()
            if (status := run.check_ended()) is not None:
                self._report(run.plan_restart(f"ended unexpectedly with status {status}"), show=True)
        elif run.is_due():
            try:
                run.start()
            except OSError as error:  # no memory, no process left to have, no space
                self._report(run.plan_restart(f"cannot be started: {error}"), show=True)
            else:
                self._report(f"{run.process.title} started")

    def _stop(self, run: SupervisedProcess) -> None:
        """Ask clients first, and servers once no client is left."""
        if run.is_running and (status := run.check_ended()) is not None:
            self._report(f"{run.process.title} stopped with status {status}")
        clients = [run for run in self._runs if run.is_running and not run.process.is_server]
        if run.is_running and (not run.process.is_server or not clients):
            run.stop()

    def _read(self, timeout_s: float) -> None:
        """Read the output of processes; wait at most ``timeout_s`` for it."""
        pipes = {run.pipe: run for run in self._runs if run.pipe is not None}
        for pipe in select.select(list(pipes), [], [], timeout_s)[0]:
            pipes[pipe].read()

    def _report(self, line: str, *, show: bool = False) -> None:
        self._log.write(f"{time.strftime('%FT%T')} {line}\n".encode())
        if show:
            self._terminal.show(line)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True
