"""The OpenAPI document: who we are, and how operations are named for client generators."""

from importlib.metadata import version

from flask_openapi.models.info import Info

#: Client generators know 3.1; nothing of 3.2 is used.
VERSION = "3.1.0"
INFO = Info(
    title="swiftdiffusion",
    version=version("swiftdiffusion"),
    description="Text-to-image with ControlNets and LoRAs as services (SwiftDiffusion, arXiv 2407.02031).",
)


def operation_id(*, name: str, path: str, method: str) -> str:
    """An operation is called as its function is."""
    return name
