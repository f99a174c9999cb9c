"""Ends a call that waits when its client has disconnected."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def abort_on_disconnect(environ: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Within the block a hang-up of the client raises `ClientDisconnected`, a second or two later at most.

    Put it around the wait alone; what is held meanwhile belongs in ``with`` or ``finally``. Nothing needs to
    catch the error: the server closes the connection. ``environ`` is the request's; other servers than ours
    never raise the error.
    """
    sock = environ.get("gunicorn.socket")
    abort: Callable[[], AbstractContextManager[Any]] = getattr(sock, "abort_on_disconnect", nullcontext)
    return abort()
