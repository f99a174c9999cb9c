"""What an operator sees of a stack: warnings and errors of its processes, and what it is waiting for.

All output goes through one thread: a terminal that does not scroll, or is closed, blocks no other thread.
"""

import contextlib
import queue
import re
import threading
from typing import IO, NamedTuple

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

from infra.local.plan import Process
from shared.logs import escape

#: Records of at least this level are shown: of `shared.logs`, in either format.
_SHOWN = re.compile(rb'\blevel=(?:warning|error|critical)\b|"level": "(?:warning|error|critical)"')
#: What each embedded server logs at these levels. Valkey marks a warning with ``#``, and its orderly end,
#: too; SeaweedFS begins a line with the first letter of the level.
_SHOWN_OF_SERVERS = re.compile(
    rb"^\d+:[A-Z] \d+ \w+ \d{4} [\d:.]+ # (?!\w+ is now ready to exit)|^[WEF]\d{4} \d\d:"
)
#: A record of `shared.logs` of any level, in either format.
_RECORD = re.compile(rb'\blevel=\w+|"level": "\w+"')
#: Output that waits for a terminal that does not scroll; further output is in the log files only.
QUEUE_LENGTH = 1000
#: Wide enough for every path: a terminal wraps long lines, rich would cut them.
WIDTH = 1000


class Waiting(NamedTuple):
    """What the stack waits for, shown beside a spinner; an empty text ends the display."""

    text: str


class Terminal:
    """Shows lines of processes and a progress display; without ``output`` it shows nothing."""

    def __init__(self, output: IO[str] | None) -> None:
        self._queue: queue.Queue[RenderableType | Waiting] = queue.Queue(QUEUE_LENGTH)
        self._output = output
        if output is not None:
            threading.Thread(target=self._show, args=(output,), name="terminal", daemon=True).start()

    def show_output(self, process: Process, lines: bytes) -> None:
        """Show the warnings and errors among a process's lines of output."""
        for line in lines.splitlines():
            if _is_shown(process, line):
                self.show(f"{process.name}: {line.decode(errors='replace')}")

    def show(self, line: str) -> None:
        """Show one line."""
        self._put(Text(escape(line)))

    def show_table(self, table: RenderableType) -> None:
        """Show something that rich renders."""
        self._put(table)

    def show_waiting(self, text: str) -> None:
        """Show what is being waited for, in place of the last text; only where output is a terminal."""
        self._put(Waiting(text))

    def flush(self) -> None:
        """Wait until everything is shown that was to be shown before this call."""
        if self._output is not None:
            self._queue.join()

    def _put(self, item: RenderableType | Waiting) -> None:
        if self._output is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(item)

    def _show(self, output: IO[str]) -> None:
        console = Console(file=output, width=WIDTH, highlight=False, emoji=False)
        status: Status | None = None
        while True:
            item = self._queue.get()
            try:
                if isinstance(item, Waiting):
                    status = _update(status, item.text, console)
                else:
                    console.print(item)
            except (OSError, ValueError):  # the terminal is closed
                pass
            finally:
                self._queue.task_done()


def _is_shown(process: Process, line: bytes) -> bool:
    if process.is_server:
        return _SHOWN_OF_SERVERS.search(line) is not None
    if process.shows_plain_output and not _RECORD.search(line):
        return bool(line.strip())
    return _SHOWN.search(line) is not None


def _update(status: Status | None, text: str, console: Console) -> Status | None:
    if not text:
        if status is not None:
            status.stop()
        return None
    if status is None:
        status = console.status(Text(text))
        status.start()
    else:
        status.update(Text(text))
    return status


def last_line(output: bytes) -> str:
    """The last line that is not blank, cut to a length that a terminal shows."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return escape(lines[-1].strip())[:300] if lines else ""
