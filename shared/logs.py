"""Structured logs: one line a record, with fields; nothing a client sends can forge or hide a line.

``log.warning("step failed", extra={"job": …, "step": …})`` adds fields to a record, `log_fields` adds them to
all records of a block, also to those of libraries. Prompts are never logged.
"""

import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from shared.settings import Settings

#: A longer value is cut in its middle.
MAX_CHARS = 16_384
#: Celery attaches a task's arguments here.
_CELERY = "data"
#: What needs no quotes in ``key=value``.
_PLAIN = re.compile(r"[\w@.:/+*,#%-]+", re.ASCII)

_fields: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Within the block every record of this thread has ``fields``."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def configure_logs(settings: Settings, *, level: int = logging.INFO, **fields: Any) -> None:
    """Send all records, uncaught exceptions and warnings to stderr; ``fields`` name this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonLines if settings.log_format == "json" else TextLines)(static_fields=fields))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


def escape(text: str) -> str:
    r"""``text`` with everything unprintable as ``\n``, ``\x1b``, ``\u202e``: it stays on its line."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    )


class JsonLines(JsonFormatter):
    """A JSON object a line: time, level, logger, message, then the fields, then the traceback."""

    def __init__(self, static_fields: Mapping[str, Any]) -> None:
        super().__init__(
            timestamp="time",
            static_fields=dict(static_fields),
            reserved_attrs=[*RESERVED_ATTRS, _CELERY, "time", "level", "logger", "traceback"],
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Put the fields into their order."""
        found: dict[str, Any] = {}
        super().add_fields(found, record, message_dict)
        trace = found.pop("exc_info", None)
        log_data.update(time=found.pop("time").isoformat(timespec="milliseconds"))
        log_data.update(level=record.levelname.lower(), logger=record.name, message=record.message)
        log_data.update(_fields.get())
        log_data.update(found)
        task = getattr(record, _CELERY, None)
        if isinstance(task, Mapping):
            log_data["task"] = task.get("id")
        if trace:
            log_data["traceback"] = trace
        log_data.update({key: _cut(value) for key, value in log_data.items() if isinstance(value, str)})


class TextLines(JsonLines):
    """The same as ``key=value``, quoted where needed, for people who read along."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """All fields as one line."""
        return " ".join(f"{_name(key)}={_value(value)}" for key, value in log_data.items())


def _name(key: str) -> str:
    return re.sub(r"[^\w.]", "_", str(key))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS // 2]} … {text[-MAX_CHARS // 2 :]}"


def _value(value: Any) -> str:
    text = _cut(str(value))
    if _PLAIN.fullmatch(text):
        return text
    return '"' + escape(text).replace('"', r"\"") + '"'


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("uncaught").critical("this process ends", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else ""
        raised = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger("uncaught").error("a thread ended", exc_info=raised, extra={"thread_name": name})
