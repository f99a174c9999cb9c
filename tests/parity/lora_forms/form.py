"""How a trainer saves a LoRA, and what diffusers can be asked of such a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class LoraForm:
    """A kind of LoRA file, of random matrices."""

    #: Its tensors for a pipeline.
    tensors: Callable[[Any], dict[str, Tensor]]
    #: What such tensors add to the pipeline's weights, by ``PART.NAME``; None: diffusers loads the file.
    added: Callable[[Any, Mapping[str, Tensor]], dict[str, Tensor]] | None = None


def flat(prefix: str, name: str) -> str:
    """kohya's name of a module."""
    return prefix + name.replace(".", "_")
