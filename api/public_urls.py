"""URLs of the API's own resources, as the client reaches them."""

from flask import has_request_context, request


def public_url(path: str) -> str:
    """``path`` behind the prefix under which a proxy serves the API (``X-Forwarded-Prefix``), if it does."""
    return f"{request.script_root}{path}" if has_request_context() else path
