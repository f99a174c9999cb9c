"""Runs work on whole images beside the requests of the process."""

import threading
from collections.abc import Callable
from typing import TypeVar

from api.services import Services
from shared.errors import SwiftError

_T = TypeVar("_T")
#: An image takes hundreds of megabytes while it is decoded, resized or preprocessed: few at a time.
AT_ONCE = 2
_SLOTS = threading.BoundedSemaphore(AT_ONCE)


def work_on_images(work: Callable[[], _T], services: Services) -> _T:
    """What ``work`` returns, or raises; waits while others work on theirs. It must not call this again."""

    def run() -> _T | SwiftError:
        # gevent's threads would log an error with what they were given: requests and their images.
        try:
            return work()
        except SwiftError as error:
            return error

    with _SLOTS:
        result = services.offload(run)
    if isinstance(result, SwiftError):
        raise result
    return result
