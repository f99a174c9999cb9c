"""The OpenAPI document: who we are, and how operations are named for client generators."""

from functools import cache
from importlib.metadata import version
from typing import Any

from flask_openapi.models.info import Info
from pydantic import BaseModel, ConfigDict

#: Client generators know 3.1; nothing of 3.2 is used.
VERSION = "3.1.0"
INFO = Info(
    title="swiftdiffusion",
    version=version("swiftdiffusion"),
    description="Text-to-image with ControlNets and LoRAs as services (SwiftDiffusion, arXiv 2407.02031).",
)
#: How a request carries an API key, or a browser its session.
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "basic": {"type": "http", "scheme": "basic", "description": "an API key as password, with any user"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "swift_session",
        "description": "of `POST /v1/session`",
    },
}
#: One of them is enough.
SECURITY: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]


class Headers(BaseModel):
    """Header parameters. flask-openapi asks for the schema at every request, so it is kept."""

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As pydantic's, made once."""
        return super().model_json_schema(*args, **kwargs)


class Query(Headers):
    """Query parameters; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")


def operation_id(*, name: str, path: str, method: str) -> str:
    """An operation is called as its function is."""
    return name
