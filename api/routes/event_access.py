"""Ends event streams with the API key or the session that opened them."""

import json
from collections.abc import Iterator

from flask import request

from api.auth.credentials import Credentials, read_credentials
from api.auth.verifier import KeyVerifier
from api.services import Services
from shared.errors import Unauthorized
from shared.jobs.events import BLOCK_S, Event
from shared.settings import Settings

#: Shortest wait for events, however soon an ended key is to be noticed: each costs a call of Redis.
LEAST_BLOCK_S = 1.0


def longest_block_s(settings: Settings) -> float:
    """How long a stream waits for events before it looks whether it has to end."""
    return BLOCK_S if settings.auth == "off" else min(BLOCK_S, max(settings.auth_cache_s, LEAST_BLOCK_S))


def while_authorized(events: Iterator[Event | None], services: Services) -> Iterator[Event | None]:
    """The events until the key or session of the present request has ended; then `unauthorized`, the last."""
    credentials = read_credentials(request.environ)
    if services.settings.auth == "off" or credentials is None:
        return events
    return _while_right(events, credentials, services.verifier)


def _while_right(
    events: Iterator[Event | None], credentials: Credentials, verifier: KeyVerifier
) -> Iterator[Event | None]:
    try:
        for event in events:
            verifier.check(credentials)
            yield event
    except Unauthorized as error:
        yield Event("", "unauthorized", json.dumps({"code": error.code, "detail": str(error)}))
