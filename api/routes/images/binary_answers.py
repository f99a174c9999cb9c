"""Answers that are files: under their own type, or as bytes of any kind."""

from typing import Any

from flask import request

#: The same bytes by another name: client generators know binary answers by it.
OCTETS = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def binary_answer(description: str, *media_types: str) -> dict[str, Any]:
    """A file in the OpenAPI document."""
    return {"description": description, "content": dict.fromkeys((*media_types, OCTETS), _BINARY)}


def accepted_type(own: str) -> str:
    """The type of a file, or `OCTETS` where the client prefers that."""
    return str(request.accept_mimetypes.best_match((own, OCTETS), own))
