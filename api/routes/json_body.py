"""Bodies that must be JSON objects."""

from typing import Any

from flask import request

from shared.errors import InvalidRequest


def require_json_object() -> None:
    """Check the body first: flask-openapi treats whatever it cannot read as an empty body."""
    if not isinstance(request.get_json(), dict):
        raise InvalidRequest("the body must be a JSON object", field="")


def read_json_object() -> dict[str, Any]:
    """The body, which can be read once: the request does not keep it, and may be one that waits for long."""
    found = request.get_json(cache=False)
    if not isinstance(found, dict):
        raise InvalidRequest("the body must be a JSON object", field="")
    return found
