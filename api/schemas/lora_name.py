"""A LoRA's name as clients write it: the one place where it is normalized and checked."""

from typing import Annotated

from pydantic import AfterValidator

from shared.message_base import ShortText
from shared.storage.lora_names import cut_suffix, lora_name_error


def read_lora_name(text: str) -> str:
    """The name without the suffix of its file; raises `ValueError` for what cannot be a LoRA's name."""
    name = cut_suffix(text)
    problem = lora_name_error(name)
    if problem is not None:
        raise ValueError(f"{name!r} is no LoRA name: {problem}")
    return name


#: In a request or a path. What the fleet stores is such a name already, and is not checked again.
LoraName = Annotated[ShortText, AfterValidator(read_lora_name)]
