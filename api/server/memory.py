"""Tunes how the C library returns freed memory to the system."""

import contextlib
import ctypes

#: From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
#: Free bytes at the end of the heap beyond which they are returned.
TRIM_BYTES = 1 << 20


def set_malloc_trim_threshold() -> None:
    """Have glibc give large buffers back to the system once they are freed.

    Without being asked it learns from the first of them to keep the next ones, up to 32 MB each: a few
    uploads at once would double the process for good. Other C libraries are left alone.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
