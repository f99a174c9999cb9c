"""URLs of our own, as the client sees them."""

from flask import has_request_context, request


def link(path: str) -> str:
    """``path`` behind the prefix under which a proxy serves the API (``X-Forwarded-Prefix``), if it does."""
    return f"{request.script_root}{path}" if has_request_context() else path
