"""A parsed LoRA file, and its memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from workers.lora.arena import Arena
from workers.lora.weight_delta import ParameterKey, WeightDelta


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """A parsed file: for each part of the model, the deltas of its parameters by name."""

    sha256: str
    parts: Mapping[str, Mapping[str, WeightDelta]]
    embeddings: tuple[str, ...] = ()  # names of those in the file, which are not applied
    left_out: tuple[str, ...] = ()  # modules that the file changes and none is read of, as it names them
    arena: Arena | None = None  # the memory of all its tensors; None: they lie anywhere

    @cached_property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def items(self) -> Iterator[tuple[ParameterKey, WeightDelta]]:
        """All deltas by the parameter that they are added to."""
        for part, deltas in self.parts.items():
            for name, delta in deltas.items():
                yield (part, name), delta

    def delta(self, key: ParameterKey) -> WeightDelta:
        """What the file adds to a parameter that it trains."""
        part, name = key
        return self.parts[part][name]

    def copy(self) -> "LoraWeights":
        """The same, each tensor in memory of its own."""
        return self._replace([tensor.clone() for tensor in self._tensors()], None)

    def pack(self, allocate: Callable[[int], Tensor]) -> "LoraWeights":
        """The same in an arena of its own; ``allocate`` returns so many bytes, as `Device.pinned` does."""
        return self.move_to(Arena.pack(self._tensors(), allocate))

    def move_to(self, arena: Arena) -> "LoraWeights":
        """The same with the tensors of ``arena``, which has the layout of this one's, or of `pack`'s."""
        return self._replace(arena.tensors, arena)

    def _tensors(self) -> list[Tensor]:
        """Each once: modules that a file trains as one share a factor."""
        every = (tensor for _, delta in self.items() for tensor in delta.all_tensors())
        return list({id(tensor): tensor for tensor in every}.values())

    def _replace(self, tensors: Sequence[Tensor], arena: Arena | None) -> "LoraWeights":
        new = {id(old): tensor for old, tensor in zip(self._tensors(), tensors, strict=True)}
        parts = {
            part: {name: delta.map_tensors(lambda old: new[id(old)]) for name, delta in deltas.items()}
            for part, deltas in self.parts.items()
        }
        return replace(self, parts=parts, arena=arena)
