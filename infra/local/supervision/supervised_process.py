"""One process under supervision: its start, its pause before a restart, its stop and its output."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from infra.local.append_only_file import mend_append_only_files
from infra.local.environment import inherit
from infra.local.plan import Process
from infra.local.supervision.log_files import LogFile
from infra.local.supervision.terminal import Terminal, last_line
from shared.settings import ROOT

#: A process that is asked to stop gets this long, then it is killed.
GRACE_S = 8.0
#: Pause before a restart: doubled each time, until the process has run for `HEALTHY_S`.
FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S = 0.25, 15.0, 30.0
#: The longest pause of a server: much less than clients retry, see `shared.redis_clients.RETRIES`.
LONGEST_SERVER_PAUSE_S = 2.0
#: Output is read, and lines are cut, in pieces of this size.
PIECE_BYTES = 1 << 16

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class SupervisedProcess:
    """One process of the plan: whether it runs, when it is restarted, and its output."""

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
        self.pipe: int | None = None  # the read end of its output
        self._popen: subprocess.Popen[bytes] | None = None
        self._pause_s = FIRST_PAUSE_S
        self._began = self._due_at = time.monotonic()
        self._kill_at: float | None = None
        self._has_pid_file = False
        self._line = b""  # an unfinished line
        self._last = ""  # its last line of output

    @property
    def is_running(self) -> bool:
        """Whether there is a process whose end has not been noticed."""
        return self._popen is not None

    def is_due(self) -> bool:
        """Whether its pause is over."""
        return time.monotonic() >= self._due_at

    def start(self) -> None:
        """Start the process; a server's files are mended first. Raises `OSError`."""
        self._began, self._last, self._has_pid_file = time.monotonic(), "", False
        if self.process.append_only and (removed := mend_append_only_files(self.process.append_only)):
            line = f"{self.process.title}: {removed} bytes removed that a full disk had damaged"
            self._log.write(f"{line}\n".encode())
            self._terminal.show(line)
        self._popen = subprocess.Popen(
            self.process.command,
            cwd=ROOT,
            env=inherit(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # its children can be killed with it, and Ctrl-C reaches only the supervisor
            pass_fds=self._inherited,
            preexec_fn=partial(_end_with_parent, os.getpid()),
        )
        assert self._popen.stdout is not None
        self.pipe = self._popen.stdout.fileno()
        os.set_blocking(self.pipe, False)
        self.write_pid()

    def check_ended(self) -> int | None:
        """The exit status of a process that has ended, reported once; its children are killed."""
        if self._popen is None or (status := self._popen.poll()) is None:
            return None
        _kill_group(self._popen.pid)
        while self.pipe is not None and self.read():
            pass
        self._write_lines(b"\n" if self._line else b"")
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        self._popen = self.pipe = self._kill_at = None
        with contextlib.suppress(OSError):
            self._pid_file.unlink(missing_ok=True)
        return status

    def plan_restart(self, why: str) -> str:
        """Set the time of the next start, after a longer pause each time; returns a line that says why."""
        now = time.monotonic()
        if now - self._began > HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        self._due_at = now + self._pause_s
        output = f": {self._last}" if self._last else ""
        line = f"{self.process.title} {why}; restarts in {self._pause_s:g} s{output}"
        longest_s = LONGEST_SERVER_PAUSE_S if self.process.is_server else LONGEST_PAUSE_S
        self._pause_s = min(2 * self._pause_s, longest_s)
        self._log.write(f"{line}\n".encode())
        return line

    def stop(self) -> None:
        """Send SIGTERM once; kill the process after `GRACE_S`."""
        assert self._popen is not None
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE_S
            self._popen.terminate()
        elif time.monotonic() >= self._kill_at:
            _kill_group(self._popen.pid)

    def read(self) -> bool:
        """Read available output; returns whether there was any."""
        assert self.pipe is not None
        try:
            output = os.read(self.pipe, PIECE_BYTES)
        except BlockingIOError:
            return False
        if not output:
            self.pipe = None  # the write end is closed
        self._write_lines(output)
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

    def _write_lines(self, output: bytes) -> None:
        """Write whole lines to the log, and a line without an end when it gets too long."""
        lines, newline, rest = (self._line + output).rpartition(b"\n")
        if len(rest) > PIECE_BYTES:
            lines, newline, rest = lines + newline + rest, b"\n", b""
        self._line = rest
        if newline:
            self._log.write(lines + newline)
            self._terminal.show_output(self.process, lines)
            self._last = last_line(lines) or self._last


def _end_with_parent(parent: int) -> None:
    """Runs in the child: have the kernel kill it when its parent ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill_group(group: int) -> None:
    """Kill a process that did not stop, and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
