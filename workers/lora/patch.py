"""Writes LoRAs into a model's weights, in place, and restores the original weights bit for bit.

W = W0 + sum_i s_i * (alpha_i / r_i) * B_i A_i, each product on its own, from a pristine W0 that is
never written: no drift, no cross terms, and one set of LoRAs is replaced by another in one pass.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from shared.errors import NonFiniteWeights
from shared.jobs.lora_scales import Scale
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.formats.parser import LoraWeights
from workers.lora.overflow import ParameterKey, find_overflows
from workers.lora.scales import LayerScales, no_layer_scales, scale_at
from workers.lora.weight_delta import WeightDelta, write

#: The LoRAs that a parameter contains beside the base weights: sha256 and scale of each, in order.
PatchedWith = tuple[tuple[str, float], ...]


class Patcher:
    """Owns the LoRA state of one model's parts; a patch stays until another replaces it."""

    def __init__(self, parts: Mapping[str, nn.Module], layer_scales: LayerScales = no_layer_scales) -> None:
        """``layer_scales``: how the model's family resolves scales by block."""
        self._parts = parts
        self._layer_scales = layer_scales
        self._parameters = {
            (part, name): parameter
            for part, model in parts.items()
            for name, parameter in model.named_parameters()
        }
        self._device = next(iter(self._parameters.values())).device
        self._pristine: dict[ParameterKey, Tensor] = {}  # copied before the first write, then kept
        self._copying = threading.Lock()
        self._swapped: set[ParameterKey] = set()  # see `_swap_for_copy`
        self._contents: dict[ParameterKey, PatchedWith | None] = {}  # None: undefined; absent: pristine
        self._patched: tuple[tuple[str, Scale], ...] | None = ()  # None: a patch was interrupted
        self._on_device: WeakKeyDictionary[LoraWeights, LoraWeights] = WeakKeyDictionary()
        self._scratch = ScratchBuffers()

    @property
    def patched(self) -> tuple[tuple[str, Scale], ...]:
        """The LoRAs that the weights contain: sha256 and scale of each, in order."""
        return self._patched or ()

    @property
    def pristine_bytes(self) -> int:
        """Memory of the pristine copies, which grows to that of all weights LoRAs have touched."""
        return sum(copy.nbytes for copy in list(self._pristine.values()))

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare(self, lora: LoraWeights) -> None:
        """Do ahead what is slow in a first patch: copy the pristine weights, move the factors to the device.

        Called in the thread that parsed the file; meanwhile the model may compute, or be patched with others.
        """
        with self._side_stream():
            for key in self._terms([(lora, 1.0)]):
                self._pristine_copy(key)
            if self._device.type != "cpu":
                self._on_device[lora] = lora.to(self._device)

    @torch.inference_mode(False)
    @torch.no_grad()
    def apply(self, loras: Sequence[tuple[LoraWeights, Scale]]) -> bool:
        """Make the weights the base's plus exactly these LoRAs, each with its scale.

        Returns whether any weight was written: one that is as wanted already costs nothing. When it raises,
        the weight that was being written is undefined until the next `apply` or `restore` succeeds. Raises
        `NonFiniteWeights` for LoRAs that leave a NaN or an infinity in a weight.
        """
        wanted = tuple((lora.sha256, scale) for lora, scale in loras)
        if wanted == self._patched:
            return False
        self._patched, is_changed = None, False
        terms = self._terms(
            [(self._on_device.get(lora) or lora.to(self._device), scale) for lora, scale in loras]
        )
        for key in self._contents.keys() - terms.keys():
            self._contents[key] = None
            self._parameters[key].copy_(self._pristine[key])
            del self._contents[key]
            is_changed = True
        written = {}
        for key, (contents, deltas) in terms.items():
            if self._contents.get(key) != contents:
                pristine = self._swap_for_copy(key)
                self._contents[key] = None
                write(self._parameters[key].detach(), pristine, deltas, self._scratch)
                self._contents[key] = contents
                written[key] = deltas
        if overflows := find_overflows(self._parameters, written):
            part, name = overflows[0]
            detail = f"{len(overflows)} weights are NaN or infinite, such as {part}.{name}"
            raise NonFiniteWeights(detail, weights=overflows)
        self._patched = wanted
        return is_changed or bool(written)

    def check_scale(self, scale: Scale) -> None:
        """Raise `InvalidRequest` for a scale with parts or blocks that the model does not have."""
        scale_at(scale, self._parts, self._layer_scales)

    def restore(self) -> None:
        """Make the weights the base's own, bit for bit, also after an interrupted patch."""
        self.apply([])

    def _pristine_copy(self, key: ParameterKey) -> Tensor:
        """The pristine weight, copied now if it has never been patched."""
        with self._copying:
            if key not in self._pristine:
                copy = self._parameters[key].detach().clone()
                if self._device.type == "cuda":  # once the copy is known, the weight may be written
                    torch.cuda.current_stream(self._device).synchronize()
                self._pristine[key] = copy
            return self._pristine[key]

    def _swap_for_copy(self, key: ParameterKey) -> Tensor:
        """The pristine weight. On a CPU that is the loaded tensor: the parameter gets the copy's memory.

        What was loaded may be a view of the file. The first write to each of its pages would cost a page
        fault, here in the denoising loop; unwritten pages cost no memory of this process.
        """
        pristine = self._pristine_copy(key)
        if self._device.type == "cpu" and key not in self._swapped:
            parameter = self._parameters[key]
            self._pristine[key], parameter.data = parameter.data, pristine
            self._swapped.add(key)
        return self._pristine[key]

    def _terms(
        self, loras: Sequence[tuple[LoraWeights, Scale]]
    ) -> dict[ParameterKey, tuple[PatchedWith, list[tuple[WeightDelta, float]]]]:
        """For each patched parameter what it shall contain, and the deltas with their scales to add."""
        found: dict[ParameterKey, list[tuple[str, WeightDelta, float]]] = defaultdict(list)
        for lora, scale in loras:
            scale_of = scale_at(scale, self._parts, self._layer_scales)
            for part, deltas in lora.parts.items():
                for name, delta in deltas.items():
                    found[part, name].append((lora.sha256, delta, scale_of(part, name)))
        return {
            key: (
                tuple((sha256, scale) for sha256, _, scale in terms),
                [(delta, scale) for _, delta, scale in terms],
            )
            for key, terms in found.items()
        }

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """On CUDA: work on a stream of its own, beside the model's; it is done when the block ends."""
        if self._device.type != "cuda":
            yield
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()
