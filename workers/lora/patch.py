"""Writes LoRAs into a model's weights, in place, and restores the original weights bit for bit.

W = W0 + sum_i s_i * (alpha_i / r_i) * B_i A_i, each product on its own, from a pristine W0 that is
never written: no drift, no cross terms, and one set of LoRAs is replaced by another in one pass.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from shared.errors import NonFiniteWeights
from shared.jobs.lora_scales import Scale
from workers.lora.lora_weights import LoraWeights
from workers.lora.overflow import OverflowCheck
from workers.lora.scales import LayerScales, no_layer_scales, scale_at
from workers.lora.weight_delta import ParameterKey
from workers.lora.writers.base import AddedLoras, PatchedWith, PatchTerms, WeightWriter
from workers.lora.writers.pristine import PristinePlace
from workers.lora.writers.selection import choose_writer


class Patcher:
    """Owns the LoRA state of one model's parts; a patch stays until another replaces it.

    On a device with its own memory no call but `prepare`, `prepare_patch` and `check_finite` waits for it.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        layer_scales: LayerScales = no_layer_scales,
        writer: WeightWriter | None = None,
    ) -> None:
        """``layer_scales``: how the model's family resolves scales by block.

        ``writer``: how weights are written; None: as is best where they are.
        """
        self._parts = parts
        self._layer_scales = layer_scales
        parameters = {
            (part, name): parameter
            for part, model in parts.items()
            for name, parameter in model.named_parameters()
        }
        self.writer = writer or choose_writer(parameters)
        self.pristine_place: PristinePlace = "auto"
        self._contents: dict[ParameterKey, PatchedWith | None] = {}  # None: undefined; absent: pristine
        self._patched: tuple[tuple[str, Scale], ...] | None = ()  # None: a patch was interrupted
        self._checks: list[tuple[OverflowCheck, Mapping[ParameterKey, PatchedWith]]] = []

    @property
    def patched(self) -> tuple[tuple[str, Scale], ...]:
        """The LoRAs that the weights contain: sha256 and scale of each, in order."""
        return self._patched or ()

    @property
    def is_pristine(self) -> bool:
        """Whether the weights are known to be the base's own."""
        return self._patched == () and not self._contents

    @property
    def pristine_bytes(self) -> int:
        """Memory of the pristine copies, which grows to that of all weights LoRAs have touched."""
        return self.writer.pristine_bytes

    @property
    def device_bytes(self) -> int:
        """Memory where the model computes that LoRAs take: pristine copies, if there, factors, buffers."""
        return self.writer.device_bytes

    def keep_pristine(self, place: PristinePlace) -> None:
        """Where pristine copies are kept that are made from now on."""
        self.pristine_place = place
        self.writer.keep_pristine(place)

    def release_cached(self) -> None:
        """Let go of LoRAs and buffers on the device that can be made again."""
        self.writer.release_cached()

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare(self, lora: LoraWeights) -> None:
        """Do ahead what is slow in a first patch: copy the pristine weights, move the factors to the device.

        Called in the thread that parsed the file; meanwhile the model may compute, or be patched with others.
        """
        self.writer.prepare(lora)

    @torch.inference_mode(False)
    @torch.no_grad()
    def prepare_patch(self, loras: Sequence[tuple[LoraWeights, Scale]]) -> None:
        """Do ahead what is slow when `apply` is called with ``loras``, which are prepared; as `prepare`."""
        self.writer.prepare_patch(self._terms(loras))

    @torch.inference_mode(False)
    @torch.no_grad()
    def apply(self, loras: Sequence[tuple[LoraWeights, Scale]]) -> bool:
        """Make the weights the base's plus exactly these LoRAs, each with its scale.

        Returns whether any weight was written: one that is as wanted already costs nothing. When it raises,
        the weights that were being written are undefined until the next `apply` or `restore` succeeds. Raises
        `NonFiniteWeights` for LoRAs that leave a NaN or an infinity in a weight; a device with its own memory
        may find that later, in `check_known` or `check_finite`.
        """
        wanted = tuple((lora.sha256, scale) for lora, scale in loras)
        if wanted == self._patched:
            return False
        self._patched = None
        terms = self._terms(loras)
        unwanted = self._contents.keys() - terms.keys()
        outdated = [key for key in terms if self._contents.get(key) != terms[key].contents]
        modified = self._contents.keys() & outdated
        self._contents |= dict.fromkeys([*unwanted, *outdated])
        self.writer.restore(unwanted)
        for key in unwanted:
            del self._contents[key]
        if outdated:
            check = self.writer.write({key: terms[key] for key in outdated}, modified)
            written = {key: terms[key].contents for key in outdated}
            self._contents |= written
            self._checks.append((check, written))
        self._patched = wanted
        self.check_known()
        return bool(unwanted or outdated)

    def contents(self, parts: Collection[str]) -> list[tuple[str, str, PatchedWith]] | None:
        """What LoRAs have added to the weights of ``parts``: part, name, and sha256 and scale of each LoRA.

        ``None`` while weights hold something undefined.
        """
        if self._patched is None:
            return None
        found = [(*key, with_) for key, with_ in self._contents.items() if key[0] in parts]
        return sorted((part, name, with_) for part, name, with_ in found if with_ is not None)

    def has_changed(self, part: str, prefixes: tuple[str, ...]) -> bool:
        """Whether LoRAs have changed weights of ``part`` whose names begin so, or may have."""
        return any(one == part and name.startswith(prefixes) for one, name in self._contents)

    def check_known(self) -> None:
        """Raise `NonFiniteWeights` if it is known that a patch has spoiled weights; does not wait."""
        self._check([one for one in self._checks if one[0].is_known])

    def check_finite(self) -> None:
        """Raise `NonFiniteWeights` if a patch has spoiled weights; waits until the device has looked."""
        self._check(list(self._checks))

    def check_scale(self, scale: Scale) -> None:
        """Raise `InvalidRequest` for a scale with parts or blocks that the model does not have."""
        scale_at(scale, self._parts, self._layer_scales)

    def restore(self) -> None:
        """Make the weights the base's own, bit for bit, also after an interrupted patch."""
        self.apply([])

    def distrust_weights(self) -> None:
        """Others may have written the weights: the next `apply` or `restore` writes all that were patched."""
        self._patched = None
        self._contents |= dict.fromkeys(self._contents)

    def _check(self, checks: Sequence[tuple[OverflowCheck, Mapping[ParameterKey, PatchedWith]]]) -> None:
        """Read some checks, and forget them. Weights that were written since are another check's."""
        self._checks = [one for one in self._checks if one not in checks]
        found = [
            key
            for check, written in checks
            for key in check.overflows()
            if self._contents.get(key) == written[key]
        ]
        if found:
            self._patched = None
            self._contents |= dict.fromkeys(found)
            part, name = found[0]
            detail = f"{len(found)} weights are NaN or infinite, such as {part}.{name}"
            raise NonFiniteWeights(detail, weights=found)

    def _terms(self, loras: Sequence[tuple[LoraWeights, Scale]]) -> PatchTerms:
        """For each patched parameter the LoRAs to add, with their scales there."""
        found: dict[ParameterKey, list[tuple[LoraWeights, float]]] = defaultdict(list)
        for lora, scale in loras:
            scale_of = scale_at(scale, self._parts, self._layer_scales)
            for key, _ in lora.items():
                found[key].append((lora, scale_of(*key)))
        return {
            key: AddedLoras(added, tuple((lora.sha256, scale) for lora, scale in added))
            for key, added in found.items()
        }
