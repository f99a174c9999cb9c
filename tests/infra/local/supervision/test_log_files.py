from pathlib import Path

from infra.local.supervision.log_files import LogFile


def contents(path: Path) -> list[str]:
    return [file.read_text() for file in sorted(path.parent.glob(f"{path.name}*"))]


def test_the_oldest_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=8, files=3)
    for line in (b"one one\n", b"two two\n", b"three\n", b"four\n"):
        log.write(line)
    assert contents(path) == ["four\n", "three\n", "two two\n"]


def test_a_log_may_be_limited_to_one_file(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log", max_bytes=8, files=1)
    for line in (b"one one\n", b"two two\n"):
        log.write(line)
    assert contents(tmp_path / "api.log") == ["two two\n"]


def test_a_file_that_somebody_moved_is_created_again(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=100, files=3)
    log.write(b"before\n")
    path.rename(tmp_path / "moved")
    log.write(b"after it\n")
    assert path.read_text() == "after it\n"


def test_a_line_that_the_disk_does_not_take_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    path.symlink_to("/dev/full")
    log = LogFile(path, max_bytes=100, files=3)
    log.write(b"lost\n")
    path.unlink()
    log.write(b"kept\n")
    assert path.read_text() == "kept\n"
