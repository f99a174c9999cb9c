"""Reads the JSON of a safetensors header value by value; large values never become Python objects.

Whoever writes a header may mean harm. Each value is known to be small before it is parsed, so that time and
memory are linear in the header's length (`infra/adr/0021-headers-are-read-value-by-value.md`). Between
pieces other threads and gevent's greenlets run.
"""

import codecs
import json
import re
import time
from collections.abc import Iterator
from typing import Any

from shared.errors import InvalidSafetensors

MAX_NAME_BYTES = 500
#: An object without objects in it.
MAX_FLAT_OBJECT_BYTES = 1000
#: Other threads and greenlets run after so many keys.
_KEYS_PER_SLICE = 128
#: One call of a regular expression reads at most so much; no other thread runs during the call.
_PIECE_BYTES = 64 << 10
#: The longest escape, of a surrogate pair.
_ESCAPE_BYTES = 12

_SPACE = re.compile(rb"[ \t\n\r]*+")
#: Characters of a JSON string. Surrogates are written in pairs.
_CHARACTERS = re.compile(
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]'
    rb"|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb')[^"\\\x00-\x1f]*+)*+'
)
_FLAT_OBJECT = re.compile(rb"\{[^{}]{0,%d}+\}" % MAX_FLAT_OBJECT_BYTES)


def check_utf8(text: bytes) -> None:
    """Raise `InvalidSafetensors` unless ``text`` is UTF-8.

    By pieces: a single character outside of Latin letters makes a decoded text four times as long.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(text)
    try:
        for start in range(0, len(text), _PIECE_BYTES):
            decoder.decode(view[start : start + _PIECE_BYTES])
            time.sleep(0)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise InvalidSafetensors("not a safetensors file: its header is no UTF-8") from None


class BoundedJsonReader:
    """Steps through JSON whose form the caller knows; raises `InvalidSafetensors` if it has another."""

    def __init__(self, text: bytes) -> None:
        self._text, self._position = text, 0

    def object_keys(self) -> Iterator[str]:
        """The keys of the next object; the caller reads each value before it asks for the next key."""
        self._expect(b"{")
        seen: set[str] = set()
        while not self._skip_token(b"}"):
            if seen:
                self._expect(b",")
            key = self.string(MAX_NAME_BYTES)
            if key is None:
                raise InvalidSafetensors(f"safetensors header: a name has more than {MAX_NAME_BYTES} bytes")
            if key in seen:
                raise InvalidSafetensors(f"safetensors header: {key!r} is there twice")
            seen.add(key)
            if len(seen) % _KEYS_PER_SLICE == 0:
                time.sleep(0)
            self._expect(b":")
            yield key

    def string(self, limit_bytes: int) -> str | None:
        """The next string; None if its JSON is longer than ``limit_bytes``."""
        self._expect(b'"')
        start = self._position
        while self._skip_characters():
            time.sleep(0)
        stop = self._position
        if self._text[stop : stop + 1] != b'"':
            raise self._error()
        self._position += 1
        if stop - start > limit_bytes:
            return None
        return str(json.loads(self._text[start - 1 : stop + 1]))

    def flat_object(self, name: str) -> object:
        """The next object, which has no objects in it, parsed; errors say that it describes ``name``."""
        self._skip_space()
        match = _FLAT_OBJECT.match(self._text, self._position)
        if match is None:
            raise InvalidSafetensors(
                f"safetensors header: {name!r} has no {{dtype, shape, data_offsets}}"
                f" of at most {MAX_FLAT_OBJECT_BYTES} bytes"
            )
        self._position = match.end()
        try:
            return json.loads(match[0], object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError):
            raise InvalidSafetensors(f"safetensors header: {name!r} is described by no JSON object") from None

    def skip_null(self) -> bool:
        """Step over ``null`` if it comes next; returns whether it did."""
        return self._skip_token(b"null")

    def expect_end(self) -> None:
        """Raise unless only white space is left."""
        self._skip_space()
        if self._position < len(self._text):
            raise self._error()

    def _skip_characters(self) -> bool:
        """Step over a piece of a string; returns whether more of it may follow."""
        start, stop = self._position, self._position + _PIECE_BYTES
        match = _CHARACTERS.match(self._text, start, stop)
        self._position = match.end() if match else start
        return self._position > stop - _ESCAPE_BYTES  # the end of the piece may cut an escape

    def _skip_token(self, token: bytes) -> bool:
        self._skip_space()
        is_next = self._text.startswith(token, self._position)
        self._position += len(token) if is_next else 0
        return is_next

    def _expect(self, token: bytes) -> None:
        if not self._skip_token(token):
            raise self._error()

    def _skip_space(self) -> None:
        while match := _SPACE.match(self._text, self._position, self._position + _PIECE_BYTES):
            self._position = match.end()
            if match.end() - match.start() < _PIECE_BYTES:
                break
            time.sleep(0)

    def _error(self) -> InvalidSafetensors:
        return InvalidSafetensors(
            f"not a safetensors file: its header is no JSON of tensors, at byte {self._position}"
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values for one field, readers would take one or the other."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields
