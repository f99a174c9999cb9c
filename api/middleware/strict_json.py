"""Strict JSON (RFC 8259): refuses what programs read differently, and what takes too long to parse."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask.json.provider import DefaultJSONProvider

from shared.errors import InvalidRequest

#: A request has some hundreds of values; parsing as many as a body can hold would stall the process.
MAX_VALUES = 50_000
MAX_DEPTH = 64


def loads(data: bytes | str) -> Any:
    """The value that ``data`` is, UTF-8 with or without a byte order mark.

    Raises `ValueError` for what is no JSON, repeated keys, too many or too deeply nested values, and
    `InvalidRequest` with the field for lone surrogates and for numbers without a finite value.
    """
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    for path, problem in _problems(value, ()):
        raise InvalidRequest(problem, field=".".join(path))
    return value


class StrictJson(DefaultJSONProvider):
    """Flask's JSON provider."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """See `loads`."""
        return loads(s)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _ in pairs)
        repeated, _ = names.most_common(1)[0]
        raise ValueError(f"the key {repeated[:80]!r} is repeated")
    return found


def _problems(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with ``value`` or with anything in it, each with its path."""
    if isinstance(value, str):
        if _has_surrogate(value):
            yield path, "holds half of a surrogate pair, which is no character"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "must be a finite number"
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str) and _has_surrogate(key):
                yield (*path, key), "its name holds half of a surrogate pair, which is no character"
            yield from _problems(item, (*path, str(key)))


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
