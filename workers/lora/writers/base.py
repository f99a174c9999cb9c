"""What a `Patcher` needs of whoever writes a model's weights: on a CPU or on a device with its own memory."""

from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import OverflowCheck
from workers.lora.weight_delta import ParameterKey
from workers.lora.writers.pristine import PristinePlace

#: The LoRAs that a parameter contains beside the base weights: sha256 and scale of each, in order.
PatchedWith = tuple[tuple[str, float], ...]


class AddedLoras(NamedTuple):
    """The LoRAs that are added to a parameter, in order."""

    loras: Sequence[tuple[LoraWeights, float]]  # each with its scale there
    contents: PatchedWith  # what the parameter contains then


#: What is added to each parameter.
PatchTerms = Mapping[ParameterKey, AddedLoras]


class WeightWriter(Protocol):
    """Writes weights with LoRAs, and back. Other threads call `prepare` and `prepare_patch` meanwhile."""

    @property
    def pristine_bytes(self) -> int:
        """Memory of the copies of pristine weights, wherever they are."""

    @property
    def device_bytes(self) -> int:
        """Memory where the model computes that the writer takes beside the model."""

    def keep_pristine(self, place: PristinePlace) -> None:
        """Where pristine copies are kept that are made from now on."""

    def release_cached(self) -> None:
        """Let go of memory whose contents can be made again."""

    def prepare(self, lora: LoraWeights) -> None:
        """Do ahead what is slow when a LoRA is first written; waits until it can be written at once."""

    def prepare_patch(self, terms: PatchTerms) -> None:
        """Do ahead what is slow in a `write` of ``terms``, whose LoRAs are prepared."""

    def restore(self, keys: Collection[ParameterKey]) -> None:
        """Make the weights the base's own, bit for bit."""

    def write(self, terms: PatchTerms, modified: Set[ParameterKey]) -> OverflowCheck:
        """Make each weight the base's own plus its LoRAs.

        ``modified``: the weights that are not the base's own now.
        When it raises, any of these weights may hold anything.
        """
