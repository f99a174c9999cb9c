"""Ends a worker's process: quickly, or at once."""

import atexit
import faulthandler
import gc
import logging
import os
import sys
import threading

log = logging.getLogger(__name__)

#: The end of a process that has stopped may take so long.
EXIT_S = 5.0


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


def end_within(seconds: float, status: int) -> None:
    """The last call of a process that has stopped: end it with ``status`` if it has not ended by then.

    The interpreter's own end waits for the threads of every pool, also one that waits for the device.
    """
    timer = threading.Timer(seconds, end_process, [f"it did not end within {seconds:g} s", status])
    timer.daemon = True
    timer.start()


def exit_now(status: int) -> None:
    """Exit without the interpreter's own end, in which objects are freed and libraries end their work."""
    logging.shutdown()
    os._exit(status)
