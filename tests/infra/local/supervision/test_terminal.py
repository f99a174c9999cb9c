import io

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
    terminal.show_output("api", "\n".join(lines).encode())
    terminal.show("the end \x1b[31m")
    terminal.flush()
    assert output.getvalue().splitlines() == [*(f"api: {line}" for line in lines[2:4]), "the end \\x1b[31m"]


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
