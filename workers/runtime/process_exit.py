"""Ends a worker's process quickly."""

import atexit
import gc


def skip_final_gc() -> None:
    """Have the interpreter end without its last collection of garbage.

    It visits every object that torch and its libraries have created, for seconds, to free memory that
    the system takes back anyway.
    """
    atexit.register(gc.freeze)
