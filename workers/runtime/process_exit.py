"""How a worker's process ends: as soon as its work has."""

import atexit
import gc


def skip_last_collection() -> None:
    """Have the interpreter end without its last collection of garbage.

    That goes through every object that torch and its libraries have made, for seconds, and frees
    memory that the system takes back anyway.
    """
    atexit.register(gc.freeze)
