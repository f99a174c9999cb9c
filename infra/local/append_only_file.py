"""Mends an append-only file in which a full disk has left holes.

After a write that the disk took in part, Redis 7 and Valkey 8 truncate their file, and write it all again
once there is space. But a file that a rewrite has begun is not opened for appending
(`openNewIncrAofForAppend` of ``aof.c``): they go on where the part had ended, and between the two writes are
zeros. From the second such write on they also truncate too much, and the last commands before the zeros are
cut. The server runs on, but the next one refuses the whole file, unless
`workers.unet.maintenance.log_rewrite` has had it written anew by then.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_END = b"\r\n"
_MULTI, _EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"


class _NoCommand(Exception):
    """What is at a position is no whole command."""


def mend_append_only_files(folder: Path) -> int:
    """Remove holes, and the transactions that they cut, from a stopped server's files; returns their bytes.

    ``folder`` is the server's ``dir``. A file that only ends too early is left as it is: the server itself
    sees to that. Raises `OSError`.
    """
    return sum(_mend(path) for path in folder.glob("appendonlydir/*.incr.aof") if path.stat().st_size)


def _mend(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
        damage = list(_find_damage(log)) if log.find(b"\0") >= 0 else []
        if not damage:
            return 0
        mended = path.with_suffix(".mended")
        try:
            _copy_without(log, damage, mended)
        except OSError:  # no space: the supervisor tries again
            mended.unlink(missing_ok=True)
            raise
    mended.replace(path)
    return sum(end - begin for begin, end in damage)


def _copy_without(log: mmap.mmap, damage: Sequence[tuple[int, int]], path: Path) -> None:
    with path.open("wb") as copy:
        kept_from = 0
        for begin, end in damage:
            copy.write(log[kept_from:begin])
            kept_from = end
        copy.write(log[kept_from:])
        copy.flush()
        os.fsync(copy.fileno())


def _find_damage(log: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Where zeros begin and end, together with the transaction that they cut."""
    whole = position = 0  # the end of the last command, that of the last one outside of a transaction
    while position < len(log):
        if log[position : position + 1] == b"\0":
            end = _skip_zeros(log, position)
            yield whole, end
            whole = position = end
            continue
        try:
            end = _skip_command(log, position)
        except _NoCommand:
            if log.find(b"\0", position) < 0:
                return  # it ends too early
            next_command = _find_command(log, position)
            yield whole, next_command
            whole = position = next_command
            continue
        is_in_transaction = whole < position or log[position:end] == _MULTI
        if not is_in_transaction or log[position:end] == _EXEC:
            whole = end
        position = end


def _skip_zeros(log: mmap.mmap, position: int) -> int:
    while log[position : position + 1] == b"\0":
        position += 1
    return position


def _find_command(log: mmap.mmap, position: int) -> int:
    """The first command after zeros; without one, the end."""
    while (position := log.find(b"\0", position)) >= 0:
        position = _skip_zeros(log, position)
        if log[position : position + 1] != b"*":
            continue
        try:
            _skip_command(log, position)
        except _NoCommand:
            continue
        return position
    return len(log)


def _skip_command(log: mmap.mmap, position: int) -> int:
    """The end of the command, or comment, at ``position``: an array of strings in Redis' protocol."""
    if log[position : position + 1] == b"#":
        return _read_line(log, position)[1]
    arguments, position = _read_number(log, position, b"*")
    for _ in range(arguments):
        length, position = _read_number(log, position, b"$")
        position += length
        if log[position : position + len(_END)] != _END:
            raise _NoCommand
        position += len(_END)
    return position


def _read_number(log: mmap.mmap, position: int, sign: bytes) -> tuple[int, int]:
    line, end = _read_line(log, position)
    if line[:1] != sign or not line[1:].isdigit():
        raise _NoCommand
    return int(line[1:]), end


def _read_line(log: mmap.mmap, position: int) -> tuple[bytes, int]:
    end = log.find(_END, position)
    if end < 0:
        raise _NoCommand
    return log[position:end], end + len(_END)
