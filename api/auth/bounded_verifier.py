"""Verifies credentials at a cost that is bounded, however many wrong ones come."""

import random
from collections.abc import Callable
from threading import BoundedSemaphore

from api.auth.credentials import Credentials
from api.auth.lookups import Lookups
from api.auth.principal import Principal
from api.auth.verifier import KeyVerifier
from shared.errors import TooManyRequests

#: How long a refusal for too many wrong keys is held back; equal times would bring a flood back all at once.
PAUSE_S = (0.5, 1.5)
#: Refusals that an API process holds back at once: each has one of its connections. Further ones are sent at
#: once.
HELD_BACK = 500


class BoundedVerifier:
    """Verifies credentials: those that were not right lately take turns (`Lookups`).

    An address that has sent too many wrong ones is refused before; that answer waits for `PAUSE_S`: a client
    that never pauses itself gets one in that time for each of its connections.
    """

    def __init__(
        self,
        verifier: KeyVerifier,
        lookups: Lookups,
        pause: Callable[[float], None],
        *,
        held_back: int = HELD_BACK,
    ) -> None:
        """``pause`` waits for seconds."""
        self._verifier, self._lookups, self._pause = verifier, lookups, pause
        self._held_back = BoundedSemaphore(held_back)

    def check_address(self, credentials: Credentials, address: str) -> None:
        """Raise `TooManyRequests` for credentials that are not to be looked up."""
        if self._verifier.was_right_lately(credentials):
            return
        try:
            self._verifier.check_address(address)
        except TooManyRequests:
            self._hold_back()
            raise

    def principal_of(self, credentials: Credentials, address: str) -> Principal:
        """Whose credentials these are, sent from ``address``; raises `Unauthorized` or `TooManyRequests`."""
        if self._verifier.was_right_lately(credentials):
            return self._verifier.principal_of(credentials, address)
        try:
            self._verifier.check_address(address)
            with self._lookups.turn():
                return self._verifier.principal_of(credentials, address)
        except TooManyRequests:
            self._hold_back()
            raise

    def _hold_back(self) -> None:
        if self._held_back.acquire(blocking=False):
            try:
                self._pause(random.uniform(*PAUSE_S))
            finally:
                self._held_back.release()
