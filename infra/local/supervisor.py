"""Runs the processes of a stack: starts them, starts them anew when they end, stops clients before servers.

One process watches all of them (`infra/adr/0024`). If it is killed, the kernel kills them too: nothing runs
on without supervision.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from infra.local.environment import inherit
from infra.local.log_files import LogFile, Terminal, last_line
from infra.local.plan import Process
from shared.settings import ROOT

#: A process that is asked to stop gets this long, then it is killed.
GRACE_S = 8.0
#: Clients stop, then servers; a little more for what the system needs.
STOP_S = 2 * GRACE_S + 8
#: Pause before a process is started anew: doubled each time, until it has run for `HEALTHY_S`.
FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S = 0.25, 15.0, 30.0
#: The longest pause of a server: much less than `shared.redis_clients.RETRIED_S`, for which clients retry.
LONGEST_SERVER_PAUSE_S = 2.0
#: Clients start once the servers accept connections, or after this long.
SERVERS_S = 5.0
#: Between two looks at all processes; while clients wait for servers.
POLL_S, START_POLL_S = 0.25, 0.05
#: The log of the supervisor itself.
OWN_LOG = "supervisor"
#: Output is read, and lines are cut, in pieces of this size.
PIECE_BYTES = 1 << 16

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


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
            _Run(
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
                    self._keep_running(run)
            self._read(POLL_S if is_released else START_POLL_S)
        return self._signal

    def stop(self) -> None:
        """Have everything stop; may be called in any thread."""
        self._is_stopping = True

    def _take_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        self.stop()

    def _servers_accept(self) -> bool:
        return all(_accepts(run.process.port) for run in self._runs if run.process.port is not None)

    def _keep_running(self, run: "_Run") -> None:
        if run.is_running:
            run.write_pid()
            if (status := run.check_ended()) is not None:
                self._tell(run.plan_restart(f"ended unasked with status {status}"), show=True)
        elif run.is_due():
            try:
                run.start()
            except OSError as error:  # no memory, or no process left to have
                self._tell(run.plan_restart(f"cannot be started: {error}"), show=True)
            else:
                self._tell(f"{run.process.name} started")

    def _stop(self, run: "_Run") -> None:
        """Ask clients first, and servers once no client is left."""
        if run.is_running and (status := run.check_ended()) is not None:
            self._tell(f"{run.process.name} stopped with status {status}")
        clients = [run for run in self._runs if run.is_running and not run.process.is_server]
        if run.is_running and (not run.process.is_server or not clients):
            run.stop()

    def _read(self, timeout_s: float) -> None:
        """Take what processes have said, waiting for it at most so long."""
        pipes = {run.pipe: run for run in self._runs if run.pipe is not None}
        for pipe in select.select(list(pipes), [], [], timeout_s)[0]:
            pipes[pipe].read()

    def _tell(self, line: str, *, show: bool = False) -> None:
        self._log.write(f"{time.strftime('%FT%T')} {line}\n".encode())
        if show:
            self._terminal.show(line)


class _Run:
    """One process of the plan: whether it runs, when it is started anew, what it says."""

    def __init__(
        self,
        process: Process,
        environment: Mapping[str, str],
        pid_file: Path,
        log: LogFile,
        terminal: Terminal,
        inherited: Sequence[int],
    ) -> None:
        self.process = process
        self._environment = environment
        self._pid_file = pid_file
        self._log = log
        self._terminal = terminal
        self._inherited = inherited
        self.pipe: int | None = None  # where its output arrives
        self._popen: subprocess.Popen[bytes] | None = None
        self._pause_s = FIRST_PAUSE_S
        self._began = self._due_at = time.monotonic()
        self._kill_at: float | None = None
        self._has_pid_file = False
        self._line = b""  # the beginning of a line whose end is still to come
        self._last = ""  # what it has said last

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not been waited for."""
        return self._popen is not None

    def is_due(self) -> bool:
        """Whether its pause is over."""
        return time.monotonic() >= self._due_at

    def start(self) -> None:
        """Start it. Raises `OSError`."""
        self._began, self._last, self._has_pid_file = time.monotonic(), "", False
        self._popen = subprocess.Popen(
            self.process.command,
            cwd=ROOT,
            env=inherit(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # nothing it has started is left behind, and Ctrl-C is for the supervisor
            pass_fds=self._inherited,
            preexec_fn=partial(_end_with_parent, os.getpid()),
        )
        assert self._popen.stdout is not None
        self.pipe = self._popen.stdout.fileno()
        os.set_blocking(self.pipe, False)
        self.write_pid()

    def check_ended(self) -> int | None:
        """The status of a process that has ended, once; nothing of it is left then."""
        if self._popen is None or (status := self._popen.poll()) is None:
            return None
        _kill_group(self._popen.pid)
        while self.pipe is not None and self.read():
            pass
        self._take(b"\n" if self._line else b"")
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        self._popen = self.pipe = self._kill_at = None
        with contextlib.suppress(OSError):
            self._pid_file.unlink(missing_ok=True)
        return status

    def plan_restart(self, why: str) -> str:
        """Double the pause of a process that does not last; returns one line with all reasons."""
        now = time.monotonic()
        if now - self._began > HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        self._due_at = now + self._pause_s
        said = f": {self._last}" if self._last else ""
        line = f"{self.process.name} {why}; starts again in {self._pause_s:g} s{said}"
        longest_s = LONGEST_SERVER_PAUSE_S if self.process.is_server else LONGEST_PAUSE_S
        self._pause_s = min(2 * self._pause_s, longest_s)
        self._log.write(f"{line}\n".encode())
        return line

    def stop(self) -> None:
        """Ask it to stop, once; kill it when its time is over."""
        assert self._popen is not None
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE_S
            self._popen.terminate()
        elif time.monotonic() >= self._kill_at:
            _kill_group(self._popen.pid)

    def read(self) -> bool:
        """Take what it has said; returns whether there was something."""
        assert self.pipe is not None
        try:
            output = os.read(self.pipe, PIECE_BYTES)
        except BlockingIOError:
            return False
        if not output:
            self.pipe = None  # nobody has the other end any more
        self._take(output)
        return bool(output)

    def write_pid(self) -> None:
        """Write the pid file, unless it is written; a full disk may take it the next time."""
        if self._has_pid_file or self._popen is None:
            return
        with contextlib.suppress(OSError):
            new = self._pid_file.with_suffix(".new")
            new.write_text(f"{self._popen.pid}\n")
            new.replace(self._pid_file)
            self._has_pid_file = True

    def _take(self, output: bytes) -> None:
        """Write whole lines to the log, and a line without an end when it gets too long."""
        lines, newline, rest = (self._line + output).rpartition(b"\n")
        if len(rest) > PIECE_BYTES:
            lines, newline, rest = lines + newline + rest, b"\n", b""
        self._line = rest
        if newline:
            self._log.write(lines + newline)
            self._terminal.show_output(self.process.name, lines)
            self._last = last_line(lines) or self._last


def _end_with_parent(parent: int) -> None:
    """In the child: have the kernel kill it as soon as its parent is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill_group(group: int) -> None:
    """Kill what is left of a process: itself when it would not stop, and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True
