"""Reads problem documents that compatible APIs put into their own words."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from api.schemas import problems


def problem_of(response: Response) -> dict[str, Any] | None:
    """The members of a response that is a problem document; of any other ``None``."""
    if response.mimetype != problems.MIMETYPE:
        return None
    problem: dict[str, Any] = response.get_json()
    return problem


def renamed(field: str, names: Mapping[str, str]) -> str:
    """A dotted path whose first name may have another one in ``names``."""
    first, dot, rest = field.partition(".")
    return names.get(first, first) + dot + rest
