"""How a process that cannot start ends: with one sentence in place of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import SwiftError


@contextmanager
def exit_with_reason(exit_code: int = 1) -> Iterator[None]:
    """On one of our own errors (wrong settings, a wrong catalog), print it and exit with ``exit_code``."""
    try:
        yield
    except SwiftError as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(exit_code) from None
