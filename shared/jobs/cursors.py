"""Cursors of pages of jobs: a time of creation and an id, neither of which ever changes."""

import base64
import binascii
import re

from shared.errors import InvalidRequest

#: Seconds since the epoch as Redis returns them, and the id of a job.
_PLACE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?):([0-9a-f]{16})")


def make_cursor(created_at: float, job_id: str) -> str:
    """Opaque to clients, and needs no quoting in a URL."""
    return base64.urlsafe_b64encode(f"{created_at!r}:{job_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[float, str]:
    """The time and the id; raises `InvalidRequest` for what `make_cursor` has not made."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place = _PLACE.fullmatch(base64.b64decode(padded, b"-_", validate=True).decode())
    except (binascii.Error, ValueError):
        place = None
    if place is None:
        raise InvalidRequest("it is not the next_cursor of a page", field="cursor")
    return float(place[1]), place[2]
