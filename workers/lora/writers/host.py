"""Writes weights in the host's memory: a CPU does all work while it is asked to."""

import threading
from collections.abc import Collection, Mapping, Set

from torch import Tensor, nn

from workers.devices.selection import find_device
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import OverflowCheck, check_finite, may_overflow
from workers.lora.weight_delta import ParameterKey, write
from workers.lora.writers.base import PatchTerms
from workers.lora.writers.pristine import PristinePlace


class HostWriter:
    """See `WeightWriter`: each weight is read and written once, in panels that stay in a core's cache."""

    def __init__(self, parameters: Mapping[ParameterKey, nn.Parameter]) -> None:
        self._parameters = parameters
        self._pristine: dict[ParameterKey, Tensor] = {}  # copied before the first write, then kept
        self._copying = threading.Lock()
        self._swapped: set[ParameterKey] = set()  # see `_swap_for_copy`
        self._scratch = ScratchBuffers()

    @property
    def pristine_bytes(self) -> int:
        """See `WeightWriter`."""
        return sum(copy.nbytes for copy in list(self._pristine.values()))

    @property
    def device_bytes(self) -> int:
        """See `WeightWriter`; the LoRAs themselves are counted where they are cached."""
        return self.pristine_bytes

    def keep_pristine(self, place: PristinePlace) -> None:
        """See `WeightWriter`: there is one place."""

    def release_cached(self) -> None:
        """See `WeightWriter`."""
        self._scratch.release()

    def prepare(self, lora: LoraWeights) -> None:
        """See `WeightWriter`: copies the weights."""
        for key, _ in lora.items():
            self._pristine_copy(key)

    def prepare_patch(self, terms: PatchTerms) -> None:
        """See `WeightWriter`: nothing to do."""

    def restore(self, keys: Collection[ParameterKey]) -> None:
        """See `WeightWriter`."""
        for key in keys:
            if key in self._swapped:  # else it was never written
                self._parameters[key].copy_(self._pristine[key])

    def write(self, terms: PatchTerms, modified: Set[ParameterKey]) -> OverflowCheck:
        """See `WeightWriter`."""
        deltas = {
            key: [(lora.delta(key), scale) for lora, scale in added.loras] for key, added in terms.items()
        }
        for key, added in deltas.items():
            pristine = self._swap_for_copy(key)
            write(self._parameters[key].detach(), pristine, added, self._scratch)
        doubtful = may_overflow(deltas)
        return check_finite(find_device("cpu"), {key: self._parameters[key].detach() for key in doubtful})

    def _pristine_copy(self, key: ParameterKey) -> Tensor:
        """The pristine weight, copied now if it has never been patched."""
        with self._copying:
            if key not in self._pristine:
                self._pristine[key] = self._parameters[key].detach().clone()
            return self._pristine[key]

    def _swap_for_copy(self, key: ParameterKey) -> Tensor:
        """The pristine weight, which is the loaded tensor: the parameter gets the copy's memory.

        What was loaded may be a view of the file. The first write to each of its pages would cost a page
        fault, here in the denoising loop; unwritten pages cost no memory of this process.
        """
        pristine = self._pristine_copy(key)
        if key not in self._swapped:
            parameter = self._parameters[key]
            self._pristine[key], parameter.data = parameter.data, pristine
            self._swapped.add(key)
        return self._pristine[key]
