"""Writes LoRAs into a model's weights, in place, and takes them out again to the bit.

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
from workers.lora.finite import ParameterKey, find_non_finite
from workers.lora.formats.matrices import ScratchBuffers
from workers.lora.formats.parser import LoraWeights
from workers.lora.scales import scale_at
from workers.lora.weight_delta import WeightDelta, write

#: What a parameter holds beside the base: file (sha256) and scale of each LoRA, in order.
Held = tuple[tuple[str, float], ...]


class Patcher:
    """Owns the LoRA state of one model's parts: what they are patched with stays until it is replaced."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts = parts
        self._parameters = {
            (part, name): parameter
            for part, model in parts.items()
            for name, parameter in model.named_parameters()
        }
        self._device = next(iter(self._parameters.values())).device
        self._pristine: dict[ParameterKey, Tensor] = {}  # made before first touch, then kept
        self._copying = threading.Lock()
        self._exchanged: set[ParameterKey] = set()
        self._held: dict[ParameterKey, Held | None] = {}  # the others hold the base's; None: undefined
        self._patched: tuple[tuple[str, Scale], ...] | None = ()  # None: a patch was interrupted
        self._here: WeakKeyDictionary[LoraWeights, LoraWeights] = WeakKeyDictionary()
        self._scratch = ScratchBuffers()

    @property
    def patched(self) -> tuple[tuple[str, Scale], ...]:
        """What the weights hold: sha256 and scale of each LoRA, in order."""
        return self._patched or ()

    @property
    def pristine_bytes(self) -> int:
        """Memory of the pristine copies, which grows to that of all weights LoRAs have touched."""
        return sum(copy.nbytes for copy in list(self._pristine.values()))

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare(self, lora: LoraWeights) -> None:
        """Do ahead what is slow in a first patch: copy the pristine weights, move the factors to the device.

        For the thread that parsed the file; the model may be drawing, or patched with other LoRAs.
        """
        with self._aside():
            for place in self._terms([(lora, 1.0)]):
                self._kept(place)
            if self._device.type != "cpu":
                self._here[lora] = lora.to(self._device)

    @torch.inference_mode(False)
    @torch.no_grad()
    def apply(self, loras: Sequence[tuple[LoraWeights, Scale]]) -> bool:
        """Make the weights the base's plus exactly these LoRAs, each with its scale.

        Returns whether any had to be written: what is as wanted already costs nothing. When it raises,
        the weight it was at is undefined until the next `apply` or `restore` has succeeded; it raises
        `NonFiniteWeights` for LoRAs that leave a NaN or an infinity in one.
        """
        wanted = tuple((lora.sha256, scale) for lora, scale in loras)
        if wanted == self._patched:
            return False
        self._patched, changed = None, False
        terms = self._terms([(self._here.get(lora) or lora.to(self._device), scale) for lora, scale in loras])
        for place in self._held.keys() - terms.keys():
            self._held[place] = None
            self._parameters[place].copy_(self._pristine[place])
            del self._held[place]
            changed = True
        written = {}
        for place, (held, changes) in terms.items():
            if self._held.get(place) != held:
                pristine = self._exchange(place)
                self._held[place] = None
                write(self._parameters[place].detach(), pristine, changes, self._scratch)
                self._held[place] = held
                written[place] = changes
        if spoiled := find_non_finite(self._parameters, written):
            part, name = spoiled[0]
            detail = f"{len(spoiled)} weights are NaN or infinite, such as {part}.{name}"
            raise NonFiniteWeights(detail, weights=spoiled)
        self._patched = wanted
        return changed or bool(written)

    def restore(self) -> None:
        """Make the weights the base's own, to the bit; whatever was interrupted before."""
        self.apply([])

    def _kept(self, place: ParameterKey) -> Tensor:
        """The pristine weight; what has no copy yet has never been patched."""
        with self._copying:
            if place not in self._pristine:
                copy = self._parameters[place].detach().clone()
                if self._device.type == "cuda":  # whoever is told of the copy may write to the weight
                    torch.cuda.current_stream(self._device).synchronize()
                self._pristine[place] = copy
            return self._pristine[place]

    def _exchange(self, place: ParameterKey) -> Tensor:
        """The pristine weight. On a CPU that is what was loaded: the parameter gets the copy instead.

        What was loaded may be a view of the file. The first write to each of its pages would cost a fault,
        here in the loop; left clean they cost no memory of this process.
        """
        pristine = self._kept(place)
        if self._device.type == "cpu" and place not in self._exchanged:
            parameter = self._parameters[place]
            self._pristine[place], parameter.data = parameter.data, pristine
            self._exchanged.add(place)
        return self._pristine[place]

    def _terms(
        self, loras: Sequence[tuple[LoraWeights, Scale]]
    ) -> dict[ParameterKey, tuple[Held, list[tuple[WeightDelta, float]]]]:
        """For each touched place what it shall hold, and the changes with their scales that make it so."""
        found: dict[ParameterKey, list[tuple[str, WeightDelta, float]]] = defaultdict(list)
        for lora, scale in loras:
            scale_of = scale_at(scale, self._parts)
            for part, changes in lora.parts.items():
                for name, change in changes.items():
                    found[part, name].append((lora.sha256, change, scale_of(part, name)))
        return {
            place: (
                tuple((sha256, scale) for sha256, _, scale in here),
                [(change, scale) for _, change, scale in here],
            )
            for place, here in found.items()
        }

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On CUDA: on a stream of its own, beside what the model computes; done when the block ends."""
        if self._device.type != "cuda":
            yield
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()
