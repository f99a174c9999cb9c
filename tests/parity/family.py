"""What the axes of the parity matrix are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.parity.lora_forms.form import LoraForm

#: Fields of a job.
Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What models of one architecture are asked for.

    Names of ControlNets and LoRAs in requests are completed to those of the family: ``FAMILY-NAME``.
    """

    name: str
    #: What a job asks for, apart from its model, ControlNets and LoRAs. A mode that needs a scheduler of its
    #: own names it, in place of the row's.
    modes: Mapping[str, Fields]
    #: ControlNets of a job.
    controlnets: Mapping[str, Sequence[Fields]]
    #: Fields of a job that go with its ControlNets.
    controlnet_fields: Mapping[str, Fields] = field(default_factory=dict)
    #: LoRAs of a job, and their scales.
    loras: Mapping[str, Mapping[str, float]]
    #: Names in `shared.catalog.schedulers`.
    schedulers: Sequence[str]
    #: Families whose images and masks are generated with every scheduler, too.
    with_images: Sequence[str] = ()
    #: Modes that differ in how a job is guided: a short run has each with ControlNets and without.
    guidance_modes: frozenset[str] = frozenset()
    #: Makes a ControlNet of a name in ``controlnets`` for a pipeline, from a seed; None: it cannot have it.
    make_controlnet: Callable[[str, Any, int], Any]
    #: Files of the names in ``loras``.
    lora_forms: Mapping[str, LoraForm]

    @property
    def controlnet_names(self) -> list[str]:
        """Of every ControlNet that a job may have."""
        return sorted(
            {
                control_net["name"]
                for control_nets in self.controlnets.values()
                for control_net in control_nets
            }
        )

    @property
    def lora_names(self) -> list[str]:
        """Of every LoRA that a job may have."""
        return sorted({name for loras in self.loras.values() for name in loras})


@dataclass(frozen=True)
class Family:
    """A base model, and what its jobs and its loading are told."""

    layout: str  # its architecture and variant
    make: Callable[[], Any]  # its pipeline
    axes: Axes
    dtype: str = "float32"
    body: Fields = field(default_factory=dict)
    loading: Fields = field(default_factory=dict)

    @property
    def is_half_precision(self) -> bool:
        """Slow on many CPUs: the matrix has few rows of it."""
        return self.dtype != "float32"

    @property
    def is_sdxl(self) -> bool:
        """Whether it is of SDXL's architecture."""
        return self.layout.startswith("sdxl")

    @property
    def is_transformer(self) -> bool:
        """Whether it is no UNet."""
        return self.layout.startswith(("flux", "sd3", "qwen-image", "z-image"))
