import io

import pytest

from infra.local.plan import Process
from infra.local.supervision.terminal import Terminal, last_line


def test_the_terminal_shows_warnings_and_errors_only() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    lines = [
        "Starting gunicorn 27.0.0",
        "time=1 level=info logger=celery message=ready",
        "time=2 level=warning logger=x message=slow",
        '{"time": 3, "level": "error", "message": "failed"}',
        'time=4 level=info logger=api.routes.jobs message="job accepted" job=a1',
    ]
    terminal.show_output(Process(name="api", command=[]), "\n".join(lines).encode())
    terminal.show("the end \x1b[31m")
    terminal.flush()
    assert output.getvalue().splitlines() == [*(f"api: {line}" for line in lines[2:4]), "the end \\x1b[31m"]


def shown(process: Process, *lines: str) -> list[str]:
    output = io.StringIO()
    terminal = Terminal(output)
    terminal.show_output(process, "\n".join(lines).encode())
    terminal.flush()
    return [line.removeprefix(f"{process.name}: ") for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("line", "is_shown"),
    [
        ("6610:M 26 Nov 2026 17:40:34.823 # WARNING Memory overcommit must be enabled!", True),
        ("6610:M 26 Nov 2026 17:40:34.824 * Valkey version=8.1.8, bits=64, commit=00000000", False),
        ("6610:M 26 Nov 2026 17:41:31.136 # Valkey is now ready to exit, bye bye...", False),
        ("W1126 17:40:35.822742 volume.go:400 disk is almost full", True),
        ("E1126 17:40:35.822742 filer.go:12 cannot write: no space left on device", True),
        ("I1126 17:40:35.822742 master.go:400 current: 127.0.0.1:18334 peers:none", False),
    ],
)
def test_warnings_of_embedded_servers_are_shown(line: str, is_shown: bool) -> None:
    assert shown(Process(name="server", command=[], is_server=True), line) == [line] * is_shown


def test_flowers_output_that_is_no_log_record_is_shown() -> None:
    lines = [
        "time=1 level=info logger=flower.command message=started",
        "Traceback (most recent call last):",
        "OSError: [Errno 98] Address already in use",
    ]
    assert shown(Process(name="flower", command=[], shows_plain_output=True), *lines) == lines[1:]


def test_lines_are_shown_as_they_are_however_long() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    line = "/path" * 100 + " [bold] :cat: 'x' 17"
    terminal.show(line)
    terminal.flush()
    assert output.getvalue() == f"{line}\n"


def test_progress_is_shown_only_where_output_is_a_terminal() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    terminal.show_waiting("3 of 7 processes are ready")
    terminal.show_waiting("")
    terminal.flush()
    assert output.getvalue() == ""


def test_a_closed_terminal_blocks_nobody() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    output.close()
    for _ in range(3000):
        terminal.show("a line")


def test_the_last_line_is_the_last_that_is_not_blank() -> None:
    assert last_line(b"first\n  second \n\n") == "second"
    assert last_line(b"\n") == ""
