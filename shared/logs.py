"""Structured logs: one line a record, with fields. No input of a client can forge or hide a line.

``log.warning("step failed", extra={"step": …})`` adds fields to one record. `log_fields` adds them to all
records of a block, also to those of libraries. Every record of a worker process has ``worker``. Every record
of a job also has ``job``, ``attempt`` and ``tenant``, in all threads that work for it (`inherit_log_fields`).
Prompts are never logged.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from shared.settings import Settings

#: A longer value is cut in its middle.
MAX_CHARS = 16_384
#: Celery attaches a task's arguments here.
_CELERY = "data"
#: Values that need no quotes in ``key=value``.
_PLAIN = re.compile(r"[\w@.:/+*,#%-]+", re.ASCII)

P = ParamSpec("P")
R = TypeVar("R")

_fields: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Within the block, every record of this thread has ``fields``."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def inherit_log_fields(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` for another thread: its records have the fields that this thread has now."""
    fields = _fields.get()

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with log_fields(**fields):
            return function(*args, **kwargs)

    return run


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
    r"""``text`` with every unprintable character escaped, as ``\n``, ``\x1b`` or ``\u202e``."""
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
        """Add all fields to ``log_data``, in the order of the class's docstring."""
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
    """The same fields as ``key=value``, quoted where needed, for people."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Join the fields to one line."""
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
