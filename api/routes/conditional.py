"""Requests for what the client may have already (RFC 9110, 13.1.2)."""

from flask import request


def is_known(etag: str) -> bool:
    """Whether ``If-None-Match`` names the version ``etag``, weakly or not, in a list, or any by ``*``."""
    return request.if_none_match.contains_weak(etag)
