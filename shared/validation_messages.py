"""Turns what pydantic reports about a setting or a catalog entry into a clause in plain English."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

#: A value that is quoted in a message is cut after so many characters.
SHOWN_CHARACTERS = 80
_TYPES = {
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number that is not so large",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
    "too_short": "must have at least one value",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def explain(details: "ErrorDetails") -> str:
    """What is wrong with a value, as a clause that goes after the value's name."""
    said = _TYPES.get(details["type"])
    clause = said.format_map(details.get("ctx", {})) if said else details["msg"]
    if details["type"] == "literal_error":
        clause += did_you_mean(str(details["input"]), re.findall(r"'([^']*)'", clause))
    return clause


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of ``known``, after a semicolon; empty if none is near."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Which of ``known`` a misspelt name probably is; case and separators do not count."""
    by_plain = {snake_case(other): other for other in known}
    near = get_close_matches(snake_case(name[:SHOWN_CHARACTERS]), by_plain, n=1)
    return by_plain[near[0]] if near else None


def snake_case(name: str) -> str:
    """``CfgScale``, ``cfg-scale`` and ``cfgScale`` as ``cfg_scale``."""
    return re.sub(r"[^0-9A-Za-z]+|(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()


def quoted(value: Any) -> str:
    """A value in quotes, printable and not long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def printable(text: str) -> str:
    """The text with an escape in place of whatever would not show, or would end the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
