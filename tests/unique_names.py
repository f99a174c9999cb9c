"""Names that nothing has yet: a test may have been tried before, against the same servers."""

import uuid


def unique(name: str) -> str:
    """Another name that begins with this one."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
