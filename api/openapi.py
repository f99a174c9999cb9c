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
