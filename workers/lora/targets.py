"""Which modules of a model a LoRA file trains: the question that each model family answers."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from torch import nn


class FileRows(NamedTuple):
    """The rows of a module in a file that are those of one of the model's, in the order of the model."""

    pieces: tuple[slice, ...]  # each with start and stop
    total: int  # rows of the module in the file


class LoraTarget(NamedTuple):
    """A module of a part of the model, as the model names it."""

    part: str
    name: str
    #: Where the file's module is several of the model's as one (a fused qkv), or has its rows in another
    #: order; None: the file has the module's own rows.
    rows: FileRows | None = None


#: In place of a target: a module in the file of which nothing is read, as in diffusers.
LEFT_OUT = LoraTarget("", "")


class LoraTargets(Protocol):
    """Finds modules by the names that trainers give them."""

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The parts of the model that a LoRA may train, by name."""

    def find(self, groups: Mapping[str, Mapping[str, str]]) -> Iterable[tuple[str, LoraTarget | None]]:
        """Which modules each group of keys belongs to; groups that belong to none are left out.

        ``groups``: by the stem, a module's name in the file, the keys of its tensors by their roles
        (`workers.lora.formats.key_mapping.group_keys`). A stem may have several targets;
        None: it says again what other stems of the file say, and is left out. `LEFT_OUT`: it says what no
        module is for, and the job is told if that is not zero. Raises `InvalidLora`.
        """
