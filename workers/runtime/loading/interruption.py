"""Gives up the load of a model: for a load that somebody waits for, or because the process shall stop."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

from shared.errors import SwiftError, WorkerStopping
from shared.logs import inherit_log_fields

R = TypeVar("R")

#: A load in a thread is given up so soon after the process was told to stop.
POLL_S = 0.1


def load_with_checks(load: Callable[[], R], check: Callable[[], None]) -> R:
    """``load()``, with a call of ``check`` before each call of torch: about one for each tensor that is read.

    Raises what ``check`` raises (a `SwiftError`), whatever a library makes of that meanwhile. The checks take
    some microseconds each: for loads that nobody waits for.
    """
    checks = _ChecksCalls(check)
    try:
        with checks:
            loaded = load()
    except Exception:
        if checks.error is None:
            raise
    if checks.error is not None:  # without its frames, which hold what was loaded
        raise checks.error.with_traceback(None)
    return loaded


def load_unless_stopping(load: Callable[[], R], stopping: threading.Event) -> R:
    """``load()``, in a thread of its own; raises `WorkerStopping` soon after ``stopping`` is set.

    Libraries and downloads cannot be stopped from outside: the thread goes on and ends with the process.
    """
    if stopping.is_set():
        raise WorkerStopping("its worker was told to stop")
    results: list[R] = []
    errors: list[BaseException] = []
    is_done = threading.Event()

    def run() -> None:
        try:
            results.append(load())
        except BaseException as error:
            errors.append(error)
        finally:
            is_done.set()

    threading.Thread(target=inherit_log_fields(run), name="load", daemon=True).start()
    while not is_done.wait(POLL_S):
        if stopping.is_set():
            raise WorkerStopping("its worker was told to stop")
    if errors:
        raise errors.pop()  # no reference stays here: its frames hold what was loaded
    return results.pop()


class _ChecksCalls(TorchFunctionMode):
    """Within ``with``, calls a function before every call of torch in this thread; keeps what it raises."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check
        self.error: SwiftError | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            self._check()
        except SwiftError as error:
            self.error = error
            raise
        return func(*args, **(kwargs or {}))
