"""Log files of bounded size for the output of the stack's processes."""

import contextlib
from collections.abc import Mapping
from pathlib import Path


class LogFile:
    """Appends to ``path`` and keeps at most ``files`` files of about ``max_bytes`` each.

    Older files are ``path``.1, ``path``.2 and so on. If somebody moves or removes the file, a new one is
    created. Output that a full disk does not take is dropped: no process may stop because of its log.
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
        """Rename the current file, if there is one, and remove the oldest."""
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


def rotate_logs(folder: Path, files: int) -> None:
    """Rotate every log in ``folder``, so that a new start of the stack has new files."""
    for path in folder.glob("*.log"):
        LogFile(path, max_bytes=0, files=files).rotate()


def open_logs(folder: Path, names: list[str], *, max_bytes: int, files: int) -> Mapping[str, LogFile]:
    """A log file for each of ``names``."""
    return {name: LogFile(folder / f"{name}.log", max_bytes=max_bytes, files=files) for name in names}
