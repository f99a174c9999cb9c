"""How a process ends that cannot start."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import SwiftError

#: gunicorn's own code for an app that cannot be loaded: it stops, where for others it would try again.
GUNICORN_APP_LOAD_ERROR = 4


@contextmanager
def exit_with_reason(exit_code: int = 1) -> Iterator[None]:
    """End the process with one sentence, and no traceback, where settings or catalog are wrong."""
    try:
        yield
    except SwiftError as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(exit_code) from None
