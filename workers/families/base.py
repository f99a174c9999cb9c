"""The protocol of model families: what the denoising loop, LoRA, receipts and previews know of a base model.

A family is a folder here with what implements `BaseModel`, `LatentSpace`, `Conditioning` and `Family`, and of
its ControlNets `workers.families.base_controlnet`; its facts in `shared.families`; and an entry in both
registries. Everywhere else a model is only what stands in this file and in
`workers.families.base_latents`.

In shapes, ``n`` is the number of images of a job and ``b`` the rows of one forward: ``2n`` when guidance is
computed as one batch, else ``n``. "Latents" are whatever `LatentSpace.sample_noise` returns: ``(n, c, h/f,
w/f)`` of a UNet, packed tokens ``(n, h*w/f², c)`` of others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from shared.catalog.entries import LoadOptions, MemoryFormat
from shared.families.base import Config, FamilyFacts
from shared.families.controlnets import ControlPlan
from shared.jobs.families.asked_job import AskedJob, KnownModel
from shared.jobs.families.checks import check_job
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.engines.selection import Engines
from workers.families.base_controlnet import ControlNet, ControlNetSource
from workers.families.base_latents import LatentSpace
from workers.families.guidance import CFGBranch, Guidance
from workers.families.staged_forward import Residuals, StagedForward
from workers.families.text_encoder_weights import ApartEncoder, TextEncoderWeights, drop_weights
from workers.lora.patch import Patcher
from workers.lora.scales import LayerScales, no_layer_scales
from workers.lora.targets import LoraTargets
from workers.runtime.weights.hash_cache import FreshHashes, LoadHashes
from workers.runtime.weights.loaded import first_parameter, weight_bytes, weights_sha256


class Conditioning(Protocol):
    """What a base model is given beside latents and timestep, for all rows of a step."""

    @property
    def controlnet_inputs(self) -> Mapping[str, Tensor]:
        """What ControlNets are given of it, by name (``StepRequest.inputs``); rows first."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Everything that the prompt became, by name, to be searched for NaN and infinity."""

    def branch(self, branch: CFGBranch) -> "Conditioning":
        """The part of a guided batch's conditioning that belongs to ``branch``.

        The same object at every call: ControlNet inputs and cached projections are known by identity.
        """


class MaskedImage(NamedTuple):
    """The image that a job starts from, and the mask, which says what of it is generated anew."""

    pixels: Tensor  # (1, 3, h, w), -1..1
    mask: Tensor  # (1, 1, h, w), 1 where something is generated, 0 where the image stays


class BaseModel(ABC):
    """One loaded base model. Between jobs its weights stay as the last job has patched them."""

    #: What the timeline calls the forward before and after the first residual is needed.
    stages = ("encoder", "decoder")
    #: What runs its stages: set once, when it is loaded.
    engines = Engines()
    memory_format: MemoryFormat = "contiguous"
    #: Its latents.
    latents: LatentSpace

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

    # --- what it is --------------------------------------------------------------------------------

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, and of what LoRAs take beside them where the model computes."""
        return self._own_bytes + self.patcher.device_bytes

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the denoiser computes."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The denoiser's type of numbers."""

    @property
    def denoiser_config(self) -> Config:
        """The config of the network that denoises."""
        denoiser: Any = self.parts[self.facts.denoiser]
        config: Config = denoiser.config
        return config

    @property
    def vae_dtype(self) -> torch.dtype:
        """The type of numbers that latents are decoded with."""
        vae = self.parts.get("vae")
        return self.dtype if vae is None else first_parameter(vae).dtype

    @property
    @abstractmethod
    def scheduler_config(self) -> Mapping[str, Any]:
        """The scheduler config that came with the model."""

    @property
    def is_inpainting(self) -> bool:
        """Whether the denoiser takes a mask and a masked image beside the latents."""
        return False

    @abstractmethod
    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """Width and height of an image, in pixels; unset is the model's own."""

    # --- text encoders that are loaded apart from the model -----------------------------------------

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

    # --- what a job is made of ---------------------------------------------------------------------

    #: The hash of the text encoders' weights as they are loaded.
    text_weights_sha256: str = ""

    @property
    @abstractmethod
    def text_encoders_sha256(self) -> str:
        """The hash of all that `encode_texts` reads of the model: weights as loaded, configs, tokenizers."""

    def check_fields(self, spec: JobSpec) -> None:
        """Raise `InvalidRequest` for what the model or its family does not have.

        The web has asked that of most jobs; of models in single files and of hub ids it does not know it.
        """
        facts = self.facts
        model = KnownModel(self.name, facts, facts.label, self.scheduler_config, self.is_inpainting)
        check_job(AskedJob.of(spec), model)

    @abstractmethod
    def text_inputs(self, spec: JobSpec) -> dict[str, Any]:
        """All that `encode_texts` reads of a job, as JSON values: jobs of equal ones have equal embeddings.

        Raises `InvalidRequest` for fields that the model cannot follow.
        """

    @abstractmethod
    def encode_texts(self, spec: JobSpec) -> Mapping[str, Tensor]:
        """What the text encoders make of the job's texts, with the LoRAs in their weights, by name.

        One row for each text, however many images there are. Raises as `text_inputs` does.
        """

    @abstractmethod
    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> Conditioning:
        """The job's texts and sizes, for all rows of a step; ``texts`` are of `encode_texts`."""

    def encode_prompt(self, spec: JobSpec) -> Conditioning:
        """The conditioning of a job, with texts that are encoded now. Raises as `text_inputs` does."""
        return self.make_conditioning(spec, self.encode_texts(spec))

    def prompt_warnings(self, spec: JobSpec) -> list[str]:
        """Sentences for the client about texts that do not count as they stand."""
        return []

    @abstractmethod
    def guidance(self, spec: JobSpec) -> Guidance:
        """How the job is guided; not at all where guidance is distilled into the weights."""

    def check_images(self, spec: JobSpec) -> None:  # noqa: B027 - most models start from any
        """Raise `InvalidRequest` if the model cannot start from the images that the job has, or lacks."""

    def timestep_options(self, spec: JobSpec) -> Mapping[str, Any]:
        """Arguments of ``set_timesteps`` in place of those that the job gives; JSON values.

        Flow matching shifts sigmas by the size of the image (``mu``) and brings sigmas of its own.
        """
        return {}

    @abstractmethod
    def read_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """An image to start from, ``(1, 3, h, w)`` in -1..1, float32, resized as diffusers does."""

    @abstractmethod
    def read_mask(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """A mask, ``(1, 1, h, w)``: 1 where something is generated, 0 where the image stays."""

    @abstractmethod
    def read_control_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """A control image as pixels, ``(1, 3, h, w)``, float32, in the range that ControlNets are shown."""

    def gives_mask_to_controlnets(self, spec: JobSpec) -> bool:
        """Whether the job's image and mask are given to its ControlNets: the loop then begins with noise."""
        has_mask = spec.mask_image is not None and bool(spec.controlnets)
        return has_mask and self.facts.mask_reader != "base_model"

    def masked_control_inputs(
        self, spec: JobSpec, pixels: Sequence[Tensor], controlnets: Sequence[Config], masked: MaskedImage
    ) -> list[Tensor]:
        """As `control_inputs`, of a job for which `gives_mask_to_controlnets`."""
        raise NotImplementedError

    def control_inputs(
        self,
        spec: JobSpec,
        pixels: Sequence[Tensor],
        controlnets: Sequence[Config],
        generators: Sequence[torch.Generator],
    ) -> list[Tensor]:
        """What the job's ControlNets take of their control images: pixels, or latents of the VAE.

        In the job's order, and called before any noise is sampled: some pipelines sample control latents from
        the images' own ``generators``. ``controlnets`` are their configs (`ControlNetConfigs.config`). Pixels
        must be contiguous before they enter a VAE.
        """
        return list(pixels)

    # --- a step ------------------------------------------------------------------------------------

    @abstractmethod
    def staged_forward(
        self,
        x: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        engine: Engine = EAGER,
        plan: ControlPlan | None = None,
    ) -> StagedForward:
        """Predict from the model input ``x``, ``(b, …)``, at timestep ``t``, a scalar.

        ``plan`` is that of the ControlNets that guide the step, which is the same for all of a job; None:
        none does. Of models whose ControlNets are all alike it says no more than that.

        Bit-equal to the forward of diffusers, with residuals and without, as far as ``engine`` is, which runs
        its stages. ``conditioning`` is of the same rows. Of a family with ``two_forwards`` both run in here,
        and share the residuals.
        """

    def example_residuals(self, x: Tensor, t: Tensor, conditioning: Conditioning) -> Residuals | None:
        """Residuals of the shapes that the step `staged_forward` describes takes, for a warm-up.

        ``None``: the model does not know them.
        """
        return None

    def controlnet_latents(self, x: Tensor) -> Tensor:
        """What ControlNets are given of a model input: not the mask that it may hold."""
        return x

    def controlnet_branch(self, branch: CFGBranch, *, guess_mode: bool) -> CFGBranch:
        """Whose rows ControlNets are given when ``branch`` is predicted.

        In guess mode the conditional ones of a whole batch; the others' residuals are then zeros. Always the
        conditional ones where guidance is two forwards: both take the same residuals.
        """
        if self.facts.guidance_batches == "two_forwards":
            return CFGBranch.COND
        return CFGBranch.COND if guess_mode and branch is CFGBranch.BOTH else branch

    # --- LoRA --------------------------------------------------------------------------------------

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


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model that is to be loaded."""

    name: str
    path: str  # a diffusers folder or a single file, on this machine
    dtype: torch.dtype
    device: str
    options: LoadOptions
    #: Call it with the parts before they move to the device: then they need not be read from there.
    hash_weights: LoadHashes | FreshHashes = field(default_factory=FreshHashes)
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
