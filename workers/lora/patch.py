"""Writes LoRAs into a model's weights, in place, and takes them out again to the bit.

W = W0 + sum_i s_i * (alpha_i / r_i) * B_i A_i, each product on its own, from a pristine W0 that is
never written: no drift, no cross terms, and one set of LoRAs is replaced by another in one pass.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workers.lora.files import LoraWeights, LowRank


class Patcher:
    """Owns the LoRA state of one model's UNet and text encoder."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module | None) -> None:
        self._models = {"unet": unet, "text_encoder": text_encoder}
        self._pristine: dict[tuple[str, str], Tensor] = {}  # made before first touch, then kept
        self._copying = threading.Lock()
        self._dirty: set[tuple[str, str]] = set()
        self._patched: tuple[tuple[str, float], ...] | None = ()  # None: a patch was interrupted
        self._scratch = torch.empty(0)

    @property
    def patched(self) -> tuple[tuple[str, float], ...]:
        """What the weights hold: sha256 and scale of each LoRA, in order."""
        return self._patched or ()

    @property
    def pristine_bytes(self) -> int:
        """Memory of the pristine copies, which grows to that of all weights LoRAs have touched."""
        return sum(copy.nbytes for copy in list(self._pristine.values()))

    @torch.inference_mode()
    def keep(self, lora: LoraWeights) -> None:
        """Copy the pristine weights `apply` will need: the slow part of a first patch (page faults).

        For the thread that parsed the file; the model may be drawing, or patched with other LoRAs.
        """
        for place in _terms([(lora, 0.0)]):
            self._kept(place)

    @torch.inference_mode()
    def apply(self, loras: Sequence[tuple[LoraWeights, float]]) -> None:
        """Make the weights the base's plus exactly these LoRAs, each with its scale.

        When it raises, the weights are undefined until the next `apply` or `restore` has succeeded.
        """
        wanted = tuple((lora.sha256, scale) for lora, scale in loras)
        if wanted == self._patched:
            return
        self._patched = None
        terms = _terms(loras)
        for place in self._dirty - terms.keys():
            self._weight(place).copy_(self._pristine[place])
        self._dirty &= terms.keys()
        for place, products in terms.items():
            weight = self._weight(place)
            pristine = self._kept(place)
            self._dirty.add(place)
            self._write(weight, pristine, products)
        self._patched = wanted

    def restore(self) -> None:
        """Make the weights the base's own, to the bit; also after an interrupted `apply`."""
        self.apply([])

    def _kept(self, place: tuple[str, str]) -> Tensor:
        """The pristine weight; what has no copy yet has never been patched."""
        with self._copying:
            if place not in self._pristine:
                self._pristine[place] = self._weight(place).clone()
            return self._pristine[place]

    def _weight(self, place: tuple[str, str]) -> Tensor:
        part, name = place
        model = self._models[part]
        assert model is not None
        return model.get_parameter(f"{name}.weight").detach()

    def _write(self, weight: Tensor, pristine: Tensor, products: list[tuple[LowRank, float]]) -> None:
        """``weight`` = ``pristine`` + the products; in float32, rounded once to the weight's dtype."""
        in_place = weight.dtype == torch.float32 and weight.is_contiguous()
        total = weight.flatten(1) if in_place else self._float32(pristine)
        base = pristine.flatten(1) if in_place else total
        for low_rank, scale in products:
            b, a = low_rank.b.to(weight.device), low_rank.a.to(weight.device)
            torch.addmm(base, b, a, alpha=scale * low_rank.scaling, out=total)
            base = total
        if not in_place:
            weight.copy_(total.view(weight.shape))

    def _float32(self, pristine: Tensor) -> Tensor:
        """A copy in a buffer that is kept: fresh pages cost more than the arithmetic."""
        if self._scratch.numel() < pristine.numel() or self._scratch.device != pristine.device:
            self._scratch = torch.empty(pristine.numel(), device=pristine.device)
        copy = self._scratch[: pristine.numel()].view(pristine.shape)
        return copy.copy_(pristine).flatten(1)


def _terms(loras: Sequence[tuple[LoraWeights, float]]) -> dict[tuple[str, str], list[tuple[LowRank, float]]]:
    """For each touched place (part, module name): its products, in the order of the LoRAs."""
    terms = defaultdict(list)
    for lora, scale in loras:
        for part, modules in (("unet", lora.unet), ("text_encoder", lora.text_encoder)):
            for name, low_rank in modules.items():
                terms[part, name].append((low_rank, scale))
    return terms
