"""Ends a worker's process: quickly, or at once."""

import atexit
import faulthandler
import gc
import logging
import os
import sys

log = logging.getLogger(__name__)


def skip_final_gc() -> None:
    """Have the interpreter end without its last collection of garbage.

    It visits every object that torch and its libraries have created, for seconds, to free memory that
    the system takes back anyway.
    """
    atexit.register(gc.freeze)


def end_process(why: str, status: int) -> None:
    """End at once, without waiting for any thread; what every thread did is on stderr."""
    log.critical("process ended", extra={"reason": why, "status": status})
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    exit_now(status)


def exit_now(status: int) -> None:
    """Exit without the interpreter's own end, in which objects are freed and libraries end their work."""
    logging.shutdown()
    os._exit(status)
