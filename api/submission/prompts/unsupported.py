"""What A1111's prompt syntax has and this fleet has not: texts that change from step to step, and `AND`.

All of it would be generated otherwise than its author expects: each is refused by its name. What counts as
such is what A1111's grammar says (AUTOMATIC1111/stable-diffusion-webui, ``modules/prompt_parser.py``):
``[from:to:when]`` needs a number at its end, else it is text in square brackets.
"""

import re
from dataclasses import dataclass, field

from shared.prompts.errors import PromptSyntaxError

_TOKEN = re.compile(r"\\.|[()\[\]:|]", re.DOTALL)
_CLOSES = {")": "(", "]": "["}
_WHEN = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_AND = re.compile(r"\bAND\b")
_WEIGHT_AT_END = re.compile(r":\s*[-+]?(\d+\.?|\d*\.\d+)$")
#: Characters of the prompt that an error quotes.
_QUOTED = 40


@dataclass
class _Bracket:
    """An open bracket, and what stands directly in it."""

    character: str
    position: int
    colons: list[int] = field(default_factory=list)
    has_bar: bool = False


def refuse_schedules(prompt: str) -> None:
    """Raise `PromptSyntaxError` for ``[a:b:0.5]`` and its other forms, and for ``[a|b]``."""
    brackets: list[_Bracket] = []
    for token in _TOKEN.finditer(prompt):
        character, position = token[0], token.start()
        if character in "([":
            brackets.append(_Bracket(character, position))
        elif character in _CLOSES:
            opened = brackets.pop() if brackets else None
            if opened is None or opened.character != _CLOSES[character]:
                brackets.clear()  # what holds a bracket without its counterpart is text
            elif character == "]":
                _check(prompt, opened, position)
        elif brackets and character == ":":
            brackets[-1].colons.append(position)
        elif brackets and character == "|":
            brackets[-1].has_bar = True


def refuse_composition(prompt: str) -> None:
    """Raise `PromptSyntaxError` for ``AND``, and for the weight of a whole prompt, which belongs to it.

    Of negative prompts A1111 reads both as text.
    """
    found = _AND.search(prompt)
    if found is not None:
        detail = "AND (composable diffusion) is not supported; in lower case it is a word"
        raise PromptSyntaxError(detail, found.start())
    text = prompt.rstrip()
    found = _WEIGHT_AT_END.search(text)
    if found is not None and "\n" not in text[: found.start()].strip():  # A1111 reads one line
        detail = f"{found[0]!r} at the end is a weight of the whole prompt, which is not supported"
        raise PromptSyntaxError(detail, found.start())


def _check(prompt: str, bracket: _Bracket, end: int) -> None:
    quoted = repr(prompt[bracket.position : end + 1][:_QUOTED])
    if bracket.has_bar:
        raise PromptSyntaxError(f"{quoted}: alternating words are not supported", bracket.position)
    if 1 <= len(bracket.colons) <= 2 and _WHEN.fullmatch(prompt, bracket.colons[-1] + 1, end):
        raise PromptSyntaxError(f"{quoted}: prompt editing is not supported", bracket.position)
