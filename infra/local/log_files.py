"""Where the output of the stack's processes goes: files of bounded size, and what matters to the terminal."""

import contextlib
import queue
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from shared.logs import escape

#: Records of at least this level, and those of a job, are shown: of `shared.logs`, in either format.
_SHOWN = re.compile(
    rb'\blevel=(?:warning|error|critical)\b|"level": "(?:warning|error|critical)"|\bjob=|"job": '
)
#: Lines that wait for a terminal that does not scroll; further ones are in the files only.
WAITING_LINES = 1000


class LogFile:
    """Appends to ``path`` and keeps at most ``files`` files of about ``max_bytes`` each.

    The older ones are ``path``.1, .2 and so on. A file that someone else has moved or removed is begun anew.
    Output that cannot be written, because the disk is full, is dropped: no process may stop for its log.
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files

    def write(self, output: bytes) -> None:
        """Append whole lines."""
        with contextlib.suppress(OSError):
            if self._size() + len(output) > self._max_bytes:
                self.rotate()
            with self._path.open("ab", buffering=0) as file:
                file.write(output)

    def rotate(self) -> None:
        """Begin a new file, if there is one already; the oldest is removed."""
        with contextlib.suppress(OSError):
            if self._size() == 0:
                return
            if self._files == 1:
                self._path.unlink()
                return
            for i in range(self._files - 2, 0, -1):
                if self._numbered(i).exists():
                    self._numbered(i).replace(self._numbered(i + 1))
            self._path.replace(self._numbered(1))

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _numbered(self, i: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{i}")


class Terminal:
    """Shows lines of processes; a terminal that takes none, or is gone, holds nobody up."""

    def __init__(self, output: IO[str] | None) -> None:
        self._output = output
        self._lines: queue.Queue[str] = queue.Queue(WAITING_LINES)
        if output is not None:
            threading.Thread(target=self._show, name="terminal", daemon=True).start()

    def show_output(self, name: str, lines: bytes) -> None:
        """Show those lines of a process that an operator wants to see at once."""
        for line in lines.splitlines():
            if _SHOWN.search(line):
                self.show(f"{name}: {line.decode(errors='replace')}")

    def show(self, line: str) -> None:
        """Show one line."""
        if self._output is not None:
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(escape(line))

    def _show(self) -> None:
        try:
            while True:
                print(self._lines.get(), file=self._output, flush=True)
        except (OSError, ValueError):  # nobody reads any more
            return


def last_line(output: bytes) -> str:
    """The last line that says something, cut to a length that a terminal shows."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return escape(lines[-1].strip())[:300] if lines else ""


def set_aside(folder: Path, files: int) -> None:
    """Begin new files for a new start of the stack."""
    for path in folder.glob("*.log"):
        LogFile(path, max_bytes=0, files=files).rotate()


def open_logs(folder: Path, names: list[str], *, max_bytes: int, files: int) -> Mapping[str, LogFile]:
    """A log file for each of ``names``."""
    return {name: LogFile(folder / f"{name}.log", max_bytes=max_bytes, files=files) for name in names}
