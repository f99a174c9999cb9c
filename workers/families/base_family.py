"""How the models and ControlNets of a family are loaded: what each family's folder implements."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from shared.catalog.entries import LoadOptions
from shared.families.base import FamilyFacts
from workers.families.base import BaseModel
from workers.families.base_controlnet import ControlNet, ControlNetSource
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.runtime.weights.hash_cache import LoadHashes


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model that is to be loaded."""

    name: str
    path: str  # a diffusers folder or a single file, on this machine
    dtype: torch.dtype
    device: str
    options: LoadOptions
    #: Call it with the parts before they move to the device: then they need not be read from there.
    hash_weights: LoadHashes = field(default_factory=LoadHashes)
    #: Of a model that is loaded without the weights of its text encoders (`Family.load_text_encoder` loads
    #: them): called before they are read all the same. ``None``: they are loaded with it.
    make_room: Callable[[], object] | None = None

    @property
    def without_text_encoders(self) -> bool:
        """Whether the model is loaded without the weights of its text encoders."""
        return self.make_room is not None


class Family(Protocol):
    """Loads the models and ControlNets of one family."""

    @property
    def facts(self) -> FamilyFacts:
        """What the web knows of it, too."""

    def load_model(self, source: ModelSource) -> BaseModel:
        """Load a base model, its weights whole and finite, on its device.

        Raises `Unloadable`, or whatever a library raises, which is reported as the model's failure.
        """

    def load_text_encoder(self, source: ModelSource, part: str) -> TextEncoderWeights:
        """Load the weights of one of a base model's text encoders, on its device; raises as `load_model`."""

    def load_controlnet(self, source: ControlNetSource) -> ControlNet:
        """Load a ControlNet; raises as `load_model` does."""
