"""The protocol of model families: what the denoising loop, LoRA, receipts and previews know of a base model.

A family is a folder here with what implements `BaseModel`, `LatentSpace`, `Conditioning` and `Family`
(`workers.families.base_family`), and of its ControlNets `workers.families.base_controlnet`; its facts in
`shared.families`; and an entry in both registries. Everywhere else a model is only what stands in this file,
in `workers.families.loaded_parts` and in `workers.families.base_latents`.

In shapes, ``n`` is the number of images of a job and ``b`` the rows of one forward: ``2n`` when guidance is
computed as one batch, else ``n``. "Latents" are whatever `LatentSpace.sample_noise` returns: ``(n, c, h/f,
w/f)`` of a UNet, packed tokens ``(n, h*w/f², c)`` of others.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from shared.catalog.entries import MemoryFormat
from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.jobs.families.asked_job import AskedJob, KnownModel
from shared.jobs.families.checks import check_job
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.engines.selection import Engines
from workers.families.base_latents import LatentSpace
from workers.families.guidance import CFGBranch, Guidance
from workers.families.loaded_parts import LoadedParts
from workers.families.staged_forward import Residuals, StagedForward
from workers.runtime.weights.loaded import first_parameter


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


class BaseModel(LoadedParts):
    """One loaded base model, as jobs and their steps use it."""

    #: What the timeline calls the forward before and after the first residual is needed.
    stages = ("encoder", "decoder")
    #: What runs its stages: set once, when it is loaded.
    engines = Engines()
    memory_format: MemoryFormat = "contiguous"
    #: Its latents.
    latents: LatentSpace

    # --- what it is --------------------------------------------------------------------------------

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

    # --- what a job is made of ---------------------------------------------------------------------

    def check_fields(self, spec: JobSpec) -> None:
        """Raise `InvalidRequest` for what the model or its family does not have.

        The web has asked that of most jobs; of models in single files and of hub ids it does not know it.
        """
        facts = self.facts
        model = KnownModel(
            name=self.name,
            facts=facts,
            described=facts.label,
            scheduler_config=self.scheduler_config,
            is_inpainting=self.is_inpainting,
            missing_parts=facts.optional_parts - self.parts.keys(),
        )
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

    def check_images(self, spec: JobSpec) -> None:  # most models start from any
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
        """A control image as pixels, ``(1, 3, h, w)``, float32, in 0..1."""

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
