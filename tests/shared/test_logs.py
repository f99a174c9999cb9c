"""Log lines as people and programs read them."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.logs import JsonLines, TextLines, configure_logs, inherit_log_fields, log_fields
from shared.settings import Settings

#: What forges a line, hides one, or turns it around: line ends of every kind, ANSI, C1, bidi, surrogates.
NASTY = "a\nb\r\x1b[2Jc\x00\x85d\u2028\u2029e\u202ef\u2066g\ud800 \\n \x9bh"

Log = Callable[..., str]


@pytest.fixture(params=[TextLines, JsonLines])
def lines(request: pytest.FixtureRequest) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param({"worker": "unet1@test"}))
    # Not in the hierarchy: pytest would capture its records, and it cannot report lone surrogates.
    logger = logging.Logger("tests.lines")
    logger.addHandler(handler)
    return logger, stream


def raise_nasty() -> None:
    raise ValueError(NASTY) from KeyError(NASTY)


def log_message(logger: logging.Logger) -> None:
    logger.error("tensor %s", NASTY)


def log_field(logger: logging.Logger) -> None:
    logger.error("tensor", extra={"tensor": NASTY})


def log_field_name(logger: logging.Logger) -> None:
    logger.error("tensor", extra={NASTY: 1})


def log_traceback(logger: logging.Logger) -> None:
    try:
        raise_nasty()
    except ValueError:
        logger.exception("failed")


def log_bytes(logger: logging.Logger) -> None:
    logger.error("body", extra={"body": NASTY.encode(errors="replace"), "odd": object(), "many": [NASTY]})


@pytest.mark.parametrize("act", [log_message, log_field, log_field_name, log_traceback, log_bytes])
def test_no_content_of_a_record_leaves_its_line_or_reaches_the_terminal(
    act: Callable[[logging.Logger], None], lines: tuple[logging.Logger, io.StringIO]
) -> None:
    logger, stream = lines
    act(logger)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert "worker" in text


def test_a_value_cannot_forge_another_field(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    with log_fields(job="0123", attempt="4567"):
        logger.warning('x" job=feed', extra={"step": 3, "tensor": 'y" job=feed'})
    text = stream.getvalue()
    fields = json.loads(text) if text.startswith("{") else dict(split_text(text))
    assert (fields["job"], fields["attempt"], str(fields["step"])) == ("0123", "4567", "3")
    assert fields["level"] == "warning"
    assert fields["logger"] == "tests.lines"


def split_text(text: str) -> list[tuple[str, str]]:
    """Read ``key=value`` as its definition says: a quoted value ends at a quote without a backslash."""
    found, rest = [], text.strip()
    while rest:
        key, _, rest = rest.partition("=")
        if rest.startswith('"'):
            end = next(i for i in range(1, len(rest)) if rest[i] == '"' and rest[i - 1] != "\\")
            value, rest = rest[1:end], rest[end + 1 :]
        else:
            value, _, rest = rest.partition(" ")
        found.append((key.strip(), value))
    return found


def test_fields_end_with_their_block_and_apply_to_one_thread(
    lines: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = lines
    with log_fields(job="0123"):
        other = threading.Thread(target=logger.error, args=["elsewhere"])
        other.start()
        other.join()
    logger.error("later")
    assert "0123" not in stream.getvalue()


def test_another_thread_inherits_the_fields_of_its_creator(
    lines: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = lines
    with log_fields(job="0123"):
        log_error = inherit_log_fields(logger.error)
    threads = [threading.Thread(target=log_error, args=[f"part {i}"]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stream.getvalue().count("0123") == 2


def test_a_huge_value_is_cut(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    logger.error("%s", "x" * 10_000_000)
    assert len(stream.getvalue()) < 20_000


def test_records_of_celery_name_the_task_and_not_its_arguments(
    lines: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = lines
    context: dict[str, Any] = {"id": "0123", "name": "unet.generate", "args": "[a red apple]"}
    logger.info("Task %(name)s[%(id)s] received", context, extra={"data": context})
    logger.error("Task %(name)s[%(id)s] failed", context, extra={"data": context})
    assert "0123" in stream.getvalue()
    assert "apple" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_uncaught_exception_is_logged_as_one_line(log_format: str) -> None:
    code = (
        "import threading\n"
        "from shared.logs import configure_logs\nfrom shared.settings import Settings\n"
        f"configure_logs(Settings(log_format={log_format!r}), worker='unet1@test')\n"
        "def fail(): raise ValueError('a\\n\\x1b[2J')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert len(said) == 2
    assert all("ValueError" in line and line.isprintable() for line in said)


def test_the_log_format_is_text_or_json() -> None:
    assert Settings().log_format == "text"
    with pytest.raises(ValueError, match="log_format"):
        Settings(log_format="xml")  # type: ignore[arg-type]


def test_configuring_logs_twice_writes_each_record_once(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level, hooks = root.handlers, root.level, (sys.excepthook, threading.excepthook)
    try:
        configure_logs(Settings(), worker="a")
        configure_logs(Settings(), worker="b")
        logging.getLogger("tests").info("once")
    finally:
        root.handlers, root.level = before, level
        sys.excepthook, threading.excepthook = hooks
        logging.captureWarnings(False)
    assert capfd.readouterr().err.count("message=once") == 1
