"""The parts of a loaded base model: weights and hashes, text encoders that come and go, LoRA patches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from torch import nn

from shared.families.base import FamilyFacts
from workers.families.text_encoder_weights import ApartEncoder, TextEncoderWeights, drop_weights
from workers.lora.patch import Patcher
from workers.lora.scales import LayerScales, no_layer_scales
from workers.lora.targets import LoraTargets
from workers.runtime.weights.configs import configs_sha256
from workers.runtime.weights.loaded import weight_bytes, weights_sha256


class LoadedParts(ABC):
    """What of a base model is in memory. Between jobs its weights stay as the last job has patched them."""

    #: The hash of the text encoders' weights as they are loaded.
    text_weights_sha256: str = ""

    def __init__(
        self,
        name: str,
        facts: FamilyFacts,
        parts: Mapping[str, nn.Module],
        switches: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        """``parts``: every module with weights, by the names in `FamilyFacts.parts`.

        ``switches``: loading options that change how pixels are computed, for the receipt.
        ``sha256``: `weights_sha256` of the parts, if it is known.
        """
        self.name = name
        self.facts = facts
        self.parts = dict(parts)
        self.switches = dict(switches or {})
        self.sha256 = sha256 or weights_sha256(self.parts)
        self._own_bytes = weight_bytes(self.parts.values())
        #: The text encoders that the model is loaded without, by part; see `with_text_encoders`.
        self.apart: Mapping[str, ApartEncoder] = {}
        self._has_text_encoders = True
        self.lora_parts = {part: parts[part] for part in facts.lora_parts if part in parts}
        self.patcher = Patcher(self.lora_parts, self.layer_scales)
        self.patched_with: set[tuple[str, str]] = set()  # names and ETags of the LoRAs in the weights

    @property
    @abstractmethod
    def text_encoders_sha256(self) -> str:
        """The hash of all that decides embeddings: weights as loaded, configs, tokenizers, chat templates."""

    @cached_property
    def configs_sha256(self) -> str:
        """The hash of what decides pixels beside weights: the configs of all parts, and tokenizers."""
        others = {part: module for part, module in self.parts.items() if part not in self.facts.tokenizers}
        configs: dict[str, Any] = {part: getattr(module, "config", {}) for part, module in others.items()}
        return configs_sha256(self.text_encoders_sha256, configs)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, and of what LoRAs take beside them where the model computes."""
        return self._own_bytes + self.patcher.device_bytes

    @property
    def has_text_encoders(self) -> bool:
        """Whether texts can be encoded now."""
        return self._has_text_encoders

    @property
    def apart_bytes(self) -> int:
        """Of all text encoders that the model is loaded without."""
        return sum(encoder.weight_bytes for encoder in self.apart.values())

    def load_apart(self, apart: Mapping[str, ApartEncoder]) -> None:
        """The text encoders have no weights but within `with_text_encoders`."""
        self.apart, self._has_text_encoders = apart, False

    @contextmanager
    def with_text_encoders(self, weights: Mapping[str, TextEncoderWeights]) -> Iterator[None]:
        """Within the block the text encoders, by part, have these weights, and nobody else gives them
        others."""
        encoders = {part: self.parts[part] for part in self.apart}
        for part, encoder in encoders.items():
            weights[part].attach(encoder)
        self._has_text_encoders = True
        try:
            yield
        finally:
            self._has_text_encoders = False
            drop_weights(encoders)

    def renew_patcher(self) -> None:
        """Forget all that LoRAs have left beside the weights, which are the base's own."""
        self.patched_with = set()
        place = self.patcher.pristine_place
        self.patcher = Patcher(self.lora_parts, self.layer_scales)
        self.patcher.keep_pristine(place)

    @property
    def text_parts(self) -> frozenset[str]:
        """Of `FamilyFacts.lora_parts`, those after whose patch the prompt must be encoded again."""
        return frozenset(self.facts.tokenizers)

    @property
    def layer_scales(self) -> LayerScales:
        """Resolves a LoRA's scales by block; raises `InvalidRequest` for blocks the model does not have."""
        return no_layer_scales

    @property
    @abstractmethod
    def lora_targets(self) -> LoraTargets:
        """Finds the modules that a LoRA file trains, by whatever names trainers give them."""
