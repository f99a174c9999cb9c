"""Which modules of a model a LoRA file trains: the question that each model family answers."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from torch import nn


class LoraTarget(NamedTuple):
    """A module of a part of the model, as the model names it."""

    part: str
    name: str
    #: Of the file's module, where it trains several of the model's as one (a fused qkv); None: all of them.
    rows: slice | None = None


class LoraTargets(Protocol):
    """Finds modules by the names that trainers give them."""

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The parts of the model that a LoRA may train, by name."""

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterable[tuple[str, LoraTarget]]:
        """Which modules each group of keys belongs to; groups that belong to none are left out.

        ``groups``: by the stem, a module's name in the file, the keys of its tensors by their roles
        (`workers.lora.formats.key_mapping.group_keys`). A stem may have several targets. Raises
        `InvalidLora`.
        """
