r"""Weights of the parts of a prompt, as A1111 writes them.

``(x)`` multiplies the weight of ``x`` by 1.1, ``[x]`` divides it, ``(x:1.2)`` multiplies it by 1.2, also with
white space around the number; they nest. ``\(`` and its like are the characters themselves. ``BREAK`` ends a
chunk of tokens. A closing bracket that closes nothing is text; one that is never closed counts up to the end.
The rules are those of ``parse_prompt_attention`` in AUTOMATIC1111/stable-diffusion-webui,
``modules/prompt_parser.py``, as of commit 28bd8e14 (to older ones ``(x: 1.2)`` is text); the order of
multiplications is A1111's, so that weights are equal to the last bit. Two things that A1111 does by accident
are refused: a weight of several points, at which it fails, and a ``BREAK`` within brackets, which it takes
for a word of weight -1.1.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from shared.prompts.errors import PromptSyntaxError

#: Of a part of a prompt, in either direction: more than anybody has a use for.
MAX_WEIGHT = 100.0
#: Brackets that may be open at once: time grows with them.
MAX_DEPTH = 100
#: Each of them costs a window of tokens in every step.
MAX_BREAKS = 100
_MORE, _LESS = 1.1, 1 / 1.1

_TOKEN = re.compile(
    r"""
    \\(?P<escaped>[()\[\]\\]?)  # a backslash before anything else is dropped
    | (?P<opening>[(\[])
    | :\s*(?P<weight>[+-]?[.\d]+)\s*\)
    | (?P<closing>[)\]])
    | [^\\()\[\]:]+
    | :
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\bBREAK\b")


class WeightedText(NamedTuple):
    """A part of a prompt, which is not empty, and its weight."""

    text: str
    weight: float


def parse_weights(prompt: str) -> list[list[WeightedText]]:
    """The parts of a prompt, in a list for each of its sections: a ``BREAK`` is between two of them.

    Parts of one weight are joined; a section may be empty. Raises `PromptSyntaxError`.
    """
    reader = _Reader()
    for token in _TOKEN.finditer(prompt):
        reader.read(token)
    sections: list[list[WeightedText]] = [[]]
    for piece in reader.end():
        last = sections[-1]
        if piece.text is None:
            sections.append([])
        elif last and last[-1].weight == piece.weight:  # words of one weight are tokenized together
            last[-1] = WeightedText(last[-1].text + piece.text, piece.weight)
        else:
            last.append(WeightedText(piece.text, piece.weight))
    return [[part for part in section if part.text] for section in sections]


@dataclass
class _Piece:
    """A part of a prompt, as far as brackets around it are closed; ``text`` is None for ``BREAK``."""

    text: str | None
    position: int
    weight: float = 1.0


class _Reader:
    """Reads tokens of a prompt, one after the other; round and square brackets do not know each other."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._round: list[int] = []  # for each open bracket the number of pieces before it
        self._square: list[int] = []
        self._breaks = 0

    def read(self, token: re.Match[str]) -> None:
        """The next token; raises `PromptSyntaxError`."""
        kind, position = token.lastgroup, token.start()
        if kind == "escaped":
            self._pieces.append(_Piece(token["escaped"], position))
        elif kind == "opening":
            self._open(token[0], position)
        elif kind == "weight" and self._round:
            self._multiply(self._round.pop(), _read_weight(token["weight"], token.start("weight")))
        elif token[0] == ")" and self._round:
            self._multiply(self._round.pop(), _MORE)
        elif token[0] == "]" and self._square:
            self._multiply(self._square.pop(), _LESS)
        else:
            self._add_text(token[0], position)

    def end(self) -> list[_Piece]:
        """All pieces with their weights; raises `PromptSyntaxError`."""
        for start in self._round:
            self._multiply(start, _MORE)
        for start in self._square:
            self._multiply(start, _LESS)
        for piece in self._pieces:
            if piece.text is None and piece.weight != 1.0:
                raise PromptSyntaxError("BREAK stands within brackets: close them before it", piece.position)
            if abs(piece.weight) > MAX_WEIGHT:
                detail = f"brackets make a weight of {piece.weight:.6g}, the limit is {MAX_WEIGHT:g}"
                raise PromptSyntaxError(detail, piece.position)
        return self._pieces

    def _open(self, bracket: str, position: int) -> None:
        if len(self._round) + len(self._square) == MAX_DEPTH:
            raise PromptSyntaxError(f"more than {MAX_DEPTH} brackets are open", position)
        (self._round if bracket == "(" else self._square).append(len(self._pieces))

    def _multiply(self, start: int, factor: float) -> None:
        for piece in self._pieces[start:]:
            piece.weight *= factor

    def _add_text(self, text: str, position: int) -> None:
        start = 0
        for found in _BREAK.finditer(text):
            self._pieces.append(_Piece(text[start : found.start()].rstrip(), position + start))
            self._add_break(position + found.start())
            start = len(text) - len(text[found.end() :].lstrip())
        self._pieces.append(_Piece(text[start:], position + start))

    def _add_break(self, position: int) -> None:
        self._breaks += 1
        if self._breaks > MAX_BREAKS:
            raise PromptSyntaxError(f"BREAK stands here more than {MAX_BREAKS} times", position)
        self._pieces.append(_Piece(None, position))


def _read_weight(text: str, position: int) -> float:
    try:
        weight = float(text)
    except ValueError:
        raise PromptSyntaxError(f"{text[:20]!r} is no weight", position) from None
    if abs(weight) > MAX_WEIGHT:
        raise PromptSyntaxError(f"{text[:20]!r} is a weight beyond {MAX_WEIGHT:g}", position)
    return weight
