"""Finds locals of a Lua script that hide a local outside of their block, without running it."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"(?P<unread>--\[\[.*?\]\]|--[^\n]*|\[\[.*?\]\]|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")|[A-Za-z_]\w*|\.\.\.|\S",
    re.DOTALL,
)
_OPENS, _CLOSES = {"do", "then", "function", "repeat", "else"}, {"end", "until", "elseif", "else"}


def hidden_locals(script: str) -> list[str]:
    """Names that a block declares although a block around it has declared them before."""
    tokens = [match[0] for match in _TOKEN.finditer(script) if match["unread"] is None]
    blocks: list[set[str]] = [set()]
    found: list[str] = []

    def declare(names: list[str]) -> None:
        found.extend(name for name in names if name != "_" and any(name in outer for outer in blocks[:-1]))
        blocks[-1].update(names)

    loop: list[str] = []
    for place, token in enumerate(tokens):
        if token in _CLOSES:
            blocks.pop()
        if token in _OPENS:
            blocks.append(set())
        if token == "function":
            declare(_parameters(tokens, place))
        elif token == "for":
            loop = list(_names(tokens, place + 1))
        elif token == "do":
            declare(loop)
            loop = []
        elif token == "local":
            is_function = tokens[place + 1] == "function"
            declare([tokens[place + 2]] if is_function else list(_names(tokens, place + 1)))
    assert len(blocks) == 1, "blocks are not closed"
    return found


def _names(tokens: list[str], place: int) -> Iterator[str]:
    """The names of a list that begins there."""
    yield tokens[place]
    while tokens[place + 1] == ",":
        place += 2
        yield tokens[place]


def _parameters(tokens: list[str], place: int) -> list[str]:
    begin = tokens.index("(", place)
    return [token for token in tokens[begin : tokens.index(")", begin)] if token.isidentifier()]
