"""Responses with a JSON body."""

from collections.abc import Mapping
from typing import Any

from flask import Response
from pydantic import BaseModel


def json_response(
    body: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    exclude: Mapping[str, Any] | None = None,
) -> Response:
    """A model as a JSON response; ``exclude`` is pydantic's."""
    text = body.model_dump_json(exclude=dict(exclude) if exclude else None)
    return Response(text, status, headers, mimetype="application/json")
