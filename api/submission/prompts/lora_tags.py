"""LoRAs that a prompt names: ``<lora:name:weight>``, as A1111 writes them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from shared.prompts.errors import PromptSyntaxError

#: As in AUTOMATIC1111/stable-diffusion-webui, ``modules/extra_networks.py``.
_TAG = re.compile(r"<(\w+):([^>]++)>")
#: Both are LoRAs to A1111.
_KINDS = ("lora", "lyco")
_WEIGHT = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
#: Characters of a tag that an error quotes.
_QUOTED = 60


class LoraTag(NamedTuple):
    """A LoRA that a prompt names; the name is not checked yet."""

    name: str
    weight: float
    position: int  # of its first character in the prompt


class PromptWithoutTags(NamedTuple):
    """What the text encoders shall see of a prompt, and the tags that were taken out of it."""

    text: str
    tags: Sequence[LoraTag]
    #: Begin and length of each tag in the prompt.
    removed: Sequence[tuple[int, int]]

    def position_in_prompt(self, position: int) -> int:
        """Where in the prompt a character of `text` was."""
        for start, length in self.removed:
            if start <= position:
                position += length
        return position


def take_out_tags(prompt: str) -> PromptWithoutTags:
    """A prompt without its tags; raises `PromptSyntaxError` for tags that name no LoRA, or more than that."""
    found = list(_TAG.finditer(prompt))
    tags = [_read(tag) for tag in found]
    removed = [(tag.start(), len(tag[0])) for tag in found]
    rest = PromptWithoutTags(_TAG.sub("", prompt), tags, removed)
    again = _TAG.search(rest.text)
    if again is not None:
        position = rest.position_in_prompt(again.start())
        raise PromptSyntaxError("a tag stands within another one", position)
    return rest


def _read(tag: re.Match[str]) -> LoraTag:
    quoted, position = repr(tag[0][:_QUOTED]), tag.start()
    if tag[1] not in _KINDS:
        raise PromptSyntaxError(f"{quoted} names no LoRA: <lora:name:weight> does", position)
    name, *rest = tag[2].split(":")
    if len(rest) > 1 or any("=" in part for part in rest):
        detail = (
            f"{quoted} has more than a name and a weight: loras[].scale can tell parts of the model apart"
        )
        raise PromptSyntaxError(detail, position)
    weight = rest[0] if rest else "1"
    if not _WEIGHT.fullmatch(weight):
        raise PromptSyntaxError(f"{quoted}: {weight[:20]!r} is no weight", position)
    return LoraTag(name, float(weight), position)
