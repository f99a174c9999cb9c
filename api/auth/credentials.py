"""Where a request carries its API key or its session."""

from typing import Any, Literal, NamedTuple

from werkzeug.datastructures import Authorization
from werkzeug.http import parse_cookie

#: The cookie of a browser's session.
COOKIE = "swift_session"
MALFORMED = "the Authorization header is neither Bearer with an API key nor Basic with one as password"


class Credentials(NamedTuple):
    """What a request says of itself: an API key, or the token of a session. ``text`` may be anything."""

    kind: Literal["key", "session"]
    text: str


def read_credentials(environ: dict[str, Any]) -> Credentials | None:
    """The credentials of a WSGI request; ``None`` if it has none. A header counts before a cookie.

    A key is Bearer's token, or Basic's password: A1111 clients know no other way. Where a URL's user part
    holds it without a colon, it arrives as the user.
    """
    header = environ.get("HTTP_AUTHORIZATION")
    if header is not None:
        return Credentials("key", _key_of(header))
    cookies = environ.get("HTTP_COOKIE")
    token = parse_cookie(cookies).get(COOKIE) if cookies and COOKIE in cookies else None
    return Credentials("session", token) if token else None


def _key_of(header: str) -> str:
    """The key; empty, which no key is, if there is none."""
    found = Authorization.from_header(header)
    if found is None:
        return ""
    if found.type == "bearer":
        return found.token or ""
    return (found.password or found.username or "") if found.type == "basic" else ""
