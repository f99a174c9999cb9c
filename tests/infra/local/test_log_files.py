"""Bounded log files, and what reaches the terminal."""

import io
from pathlib import Path

from infra.local.log_files import LogFile, Terminal
from tests.infra.local.waiting import eventually


def contents(path: Path) -> list[str]:
    return [file.read_text() for file in sorted(path.parent.glob(f"{path.name}*"))]


def test_the_oldest_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=8, files=3)
    for line in (b"one one\n", b"two two\n", b"three\n", b"four\n"):
        log.write(line)
    assert contents(path) == ["four\n", "three\n", "two two\n"]


def test_one_file_may_be_all_there_is(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log", max_bytes=8, files=1)
    for line in (b"one one\n", b"two two\n"):
        log.write(line)
    assert contents(tmp_path / "api.log") == ["two two\n"]


def test_a_file_that_somebody_moved_is_begun_anew(tmp_path: Path) -> None:
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


def test_the_terminal_shows_warnings_and_jobs(tmp_path: Path) -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    said = [
        "Starting gunicorn 27.0.0",
        "time=1 level=info logger=celery message=ready",
        "time=2 level=warning logger=x message=slow",
        '{"time": 3, "level": "error", "message": "failed"}',
        'time=4 level=info logger=api.routes.jobs message="job accepted" job=a1',
    ]
    terminal.show_output("api", "\n".join(said).encode())
    terminal.show("the end \x1b[31m")
    eventually(lambda: "the end" in output.getvalue())
    assert output.getvalue().splitlines() == [*(f"api: {line}" for line in said[2:]), "the end \\x1b[31m"]


def test_a_closed_terminal_holds_nobody_up() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    output.close()
    for _ in range(3000):
        terminal.show("a line")
