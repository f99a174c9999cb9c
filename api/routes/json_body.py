"""Bodies that must be JSON objects."""

from flask import request

from shared.errors import InvalidRequest


def require_json_object() -> None:
    """Check the body first: flask-openapi treats whatever it cannot read as an empty body."""
    if not isinstance(request.get_json(), dict):
        raise InvalidRequest("the body must be a JSON object", field="")
