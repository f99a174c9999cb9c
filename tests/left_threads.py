"""Finds threads that outlive their test: they would take part in the tests after it.

A ControlNet server that goes on claims the steps of every later test that uses the same Redis.
"""

import threading
import time
from collections.abc import Collection

from tests.proxy import CONNECTION

#: How long a thread may take to end that was told to: a blocking read and a step, on a busy machine.
END_S = 30.0
#: Threads that may go on, by what their names begin with: they use nothing that tests share.
HARMLESS = (
    CONNECTION,  # of a `Proxy`
    "embeddings",  # of the executor of a `PromptEncoder`; ends when that is collected
    "ThreadPoolExecutor-",  # of torch's compiler, kept for the next one; those of tests end with their block
    "Dummy-",  # of libraries: Python has seen them, and does not know when they end
)
#: And by their types: a library's, and the clocks of devices that were lost, which call nothing in tests.
HARMLESS_TYPES = ("TMonitor", "Timer")


def left_threads(before: Collection[threading.Thread], end_s: float = END_S) -> list[str]:
    """The names of threads that were started after ``before`` was taken and do not end within ``end_s``."""
    deadline = time.monotonic() + end_s
    started = [
        thread for thread in threading.enumerate() if thread not in before and not _is_harmless(thread)
    ]
    for thread in started:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return [thread.name for thread in started if thread.is_alive()]


def _is_harmless(thread: threading.Thread) -> bool:
    return thread.name.startswith(HARMLESS) or type(thread).__name__ in HARMLESS_TYPES
