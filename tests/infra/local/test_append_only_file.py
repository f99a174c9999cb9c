"""An append-only file in which a full disk has left holes, of a real server."""

from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from infra.local.append_only_file import mend_append_only_files
from tests.infra.local.redis_on_full_disk import latest_log, rewrite, running_server, write, write_in_part


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def write_log(folder: Path, pieces: Sequence[bytes]) -> Path:
    log = folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"".join(pieces))
    (log.parent / "appendonly.aof.manifest").write_text(f"file {log.name} seq 1 type i\n")
    return log


def test_a_server_starts_after_a_disk_that_was_full_twice(tmp_path: Path) -> None:
    # Given a server whose append-only file was written anew, and a disk that takes two writes in part
    with running_server(tmp_path) as (redis, server):
        write(redis, "before")
        rewrite(redis)
        write(redis, "a")
        write_in_part(redis, server, latest_log(tmp_path), 20)
        write(redis, "b", "last before the second")
        write_in_part(redis, server, latest_log(tmp_path), 20)
        write(redis, "c")
    # When it is killed, and started again
    mend_append_only_files(tmp_path)
    with running_server(tmp_path) as (redis, _):
        # Then it has all but what it cut itself: as many bytes as it had written of the first write
        assert {"before", "a", "b", "c", "full"} <= set(redis.keys())


@pytest.mark.parametrize("size", [1, 3000])
def test_holes_between_commands_are_removed_and_zeros_in_values_kept(tmp_path: Path, size: int) -> None:
    hole, value = bytes(size), b"\r\n" + bytes(50)
    first, second, third = (command(b"SET", name, value) for name in (b"a", b"b", b"c"))
    log = write_log(tmp_path, [hole, first, hole, b"#TS:1\r\n", second, hole, third, hole])
    assert mend_append_only_files(tmp_path) == 4 * size
    assert log.read_bytes() == first + b"#TS:1\r\n" + second + third
    assert mend_append_only_files(tmp_path) == 0
    assert sorted(file.name for file in log.parent.iterdir()) == [
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.manifest",
    ]
    with running_server(tmp_path) as (redis, _):
        assert redis.mget("a", "b", "c") == [value.decode()] * 3


@pytest.mark.parametrize(
    "end",
    [
        b"*3\r\n$3\r\nSET\r\n$900000\r\nb\r\n\0\0",
        b"*3\r\n$3\r\nSET\r\n$1\r\nbb\r\n\0\0*2\r\n",
        b"*\0\r\n\0\0\r\n",
        b"*3\r\n$-1\r\n\0\0",
        b"*1\r\n$9\r\n\0#no comment\r\n",
    ],
    ids=["longer than the file", "wrong length", "zero in a number", "negative", "no comment"],
)
def test_an_end_that_zeros_cut_goes(tmp_path: Path, end: bytes) -> None:
    first = command(b"SET", b"a", b"1")
    log = write_log(tmp_path, [first, bytes(9), first, end])
    assert mend_append_only_files(tmp_path) == 9 + len(end)
    with running_server(tmp_path) as (redis, _):
        assert redis.keys() == ["a"]
    assert log.read_bytes().startswith(first + first)


@pytest.mark.parametrize("end", [b"", b"*3\r\n$3\r\nSET\r\n$1\r\nb", b"*1\r"])
def test_the_end_of_a_file_that_is_only_cut_is_left_to_the_server(tmp_path: Path, end: bytes) -> None:
    first = command(b"SET", b"a", b"1")
    log = write_log(tmp_path, [first, bytes(9), first, end])
    assert mend_append_only_files(tmp_path) == 9
    assert log.read_bytes() == first + first + end
    with running_server(tmp_path) as (redis, _):
        assert redis.keys() == ["a"]


def test_a_copy_that_finds_no_space_leaves_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path, [command(b"SET", b"a", b"1"), bytes(9)])
    before, own = log.read_bytes(), psutil.Process()
    old = own.rlimit(psutil.RLIMIT_FSIZE)
    own.rlimit(psutil.RLIMIT_FSIZE, (5, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            mend_append_only_files(tmp_path)
    finally:
        own.rlimit(psutil.RLIMIT_FSIZE, old)
    assert (log.read_bytes(), len(list(log.parent.iterdir()))) == (before, 2)


def test_a_command_that_zeros_cut_goes_with_its_transaction(tmp_path: Path) -> None:
    multi, execute = command(b"MULTI"), command(b"EXEC")
    a, b, c = (command(b"SET", name, 99 * name) for name in (b"a", b"b", b"c"))
    begun = multi + b + c[:-30]
    for cut in (begun, multi + b, multi, b[:40]):
        log = write_log(
            tmp_path / str(len(cut)), [multi, a, execute, a, cut, bytes(200), multi, c, execute, a]
        )
        assert mend_append_only_files(log.parent.parent) == len(cut) + 200
        with running_server(log.parent.parent) as (redis, _):
            assert redis.mget("a", "b", "c") == [99 * "a", None, 99 * "c"]


def test_a_server_without_files_and_an_empty_file_need_no_mending(tmp_path: Path) -> None:
    assert mend_append_only_files(tmp_path) == 0
    log = write_log(tmp_path, [])
    assert mend_append_only_files(tmp_path) == 0
    assert log.read_bytes() == b""
