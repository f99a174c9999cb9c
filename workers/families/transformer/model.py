"""Base models that are transformers: what Flux.1, Qwen-Image, Stable Diffusion 3 and Z-Image share."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts
from shared.families.controlnets import ControlPlan
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families.base import BaseModel
from workers.families.guidance import CFGBranch
from workers.families.staged_forward import StagedForward
from workers.families.transformer.texts import TokenWindow, truncation_warnings
from workers.families.transformer.two_forwards import BranchPair, in_lockstep
from workers.runtime.weights.configs import text_encoders_sha256
from workers.runtime.weights.loaded import first_parameter, weights_sha256


class LoadInfo(NamedTuple):
    """What the load of a model has found out; a hash that is not known is computed."""

    switches: Mapping[str, Any] | None = None  # of diffusers that are on, for the receipt
    sha256: str | None = None
    text_sha256: str | None = None  # of the text encoders' weights alone


NOTHING_KNOWN = LoadInfo()


class TransformerModel(BaseModel):
    """A pipeline of diffusers, of which the worker uses the parts."""

    stages = ("first block", "blocks")

    def __init__(self, name: str, facts: FamilyFacts, pipe: Any, info: LoadInfo = NOTHING_KNOWN) -> None:
        parts = modules_of(pipe, facts)
        super().__init__(name, facts, parts, info.switches, info.sha256)
        self.pipe = pipe
        self.text_encoders = {part: parts[part] for part in facts.tokenizers if part in parts}
        self.text_weights_sha256 = info.text_sha256 or weights_sha256(self.text_encoders)
        self.denoiser = parts[facts.denoiser]
        multiple = facts.size_multiple
        self._images = VaeImageProcessor(vae_scale_factor=multiple)
        self._control_images = VaeImageProcessor(vae_scale_factor=multiple, do_normalize=False)
        self._masks = VaeImageProcessor(
            vae_scale_factor=multiple, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    # --- what the families differ in ---------------------------------------------------------------

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, conditioning: Any, plan: ControlPlan | None) -> StagedForward:
        """One forward of the denoiser, as `staged_forward`; of a `BranchPair` it is given one branch."""

    @property
    @abstractmethod
    def text_fields(self) -> frozenset[str]:
        """Fields of a job that `encode_texts` reads, but for those of the negative prompt."""

    @abstractmethod
    def token_windows(self, spec: JobSpec) -> list[TokenWindow]:
        """The texts of a job, as each text encoder reads them."""

    def text_tokens(self, spec: JobSpec) -> int:
        """How many tokens of a job's prompts the large text encoder reads."""
        tokens = self.facts.text_tokens
        assert tokens is not None, "the family has the field max_sequence_length"
        return spec.max_sequence_length or tokens.default

    @property
    def text_facts(self) -> Mapping[str, Any]:
        """What `encode_texts` reads of the model beside its text encoders and tokenizers; JSON values."""
        return {}

    # --- see `BaseModel` ---------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """See `BaseModel`."""
        return first_parameter(self.denoiser).device

    @property
    def dtype(self) -> torch.dtype:
        """See `BaseModel`."""
        return first_parameter(self.denoiser).dtype

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """See `BaseModel`."""
        config: Mapping[str, Any] = self.pipe.scheduler.config
        return config

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """See `BaseModel`; raises `InvalidRequest` for sides that it has no positions for."""
        configs = {part: module.config for part, module in self._configured.items()}
        own, most = self.facts.default_size(configs), self.facts.largest_side(configs)
        assert own is not None, "it has the configs of all parts"
        sides = {"width": width or own[0], "height": height or own[1]}
        for side, value in sides.items():
            if most is not None and value > most:
                detail = f"{side} is {value}; model {self.name!r} takes at most {most}"
                raise InvalidRequest(detail, field=side)
        return sides["width"], sides["height"]

    def read_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self._images, image, size).to(self.device)

    def read_mask(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self._masks, image, size).to(self.device)

    def read_control_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self._control_images, image.convert("RGB"), size)

    @cached_property
    def text_encoders_sha256(self) -> str:
        """See `BaseModel`."""
        encoders = {
            part: (encoder, getattr(self.pipe, self.facts.tokenizers[part]))
            for part, encoder in self.text_encoders.items()
        }
        return text_encoders_sha256(self.text_weights_sha256, encoders, self.text_facts)

    def text_inputs(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        is_guided = self.guidance(spec).is_guided
        negative = {"negative_prompt", "negative_prompt_2", "negative_prompt_3"} if is_guided else set()
        fields = set(self.text_fields | negative) & JobSpec.model_fields.keys()
        return {"is_guided": is_guided, **spec.model_dump(include=fields)}

    def prompt_warnings(self, spec: JobSpec) -> list[str]:
        """See `BaseModel`."""
        warnings = truncation_warnings(self.token_windows(spec))
        scale = self.facts.true_cfg_scale
        if scale > 1 and spec.true_cfg_scale is None and spec.negative_prompt is None:
            effect = (
                f"the true_cfg_scale of {self.facts.label}, {scale:g}, takes effect with a negative_prompt"
            )
            warnings.append(f"the job has no guidance: {effect}, which may be empty")
        return warnings

    def staged_forward(
        self,
        x: Tensor,
        t: Tensor,
        conditioning: Any,
        engine: Engine = EAGER,
        plan: ControlPlan | None = None,
    ) -> StagedForward:
        """See `BaseModel`; the engine is eager."""
        if not isinstance(conditioning, BranchPair):
            return self.forward(x, t, conditioning, plan)
        uncond, cond = x.chunk(2)
        branches = ((uncond, conditioning.uncond), (cond, conditioning.cond))
        return in_lockstep([self.forward(rows, t, branch, plan) for rows, branch in branches])

    def controlnet_branch(self, branch: CFGBranch, *, guess_mode: bool) -> CFGBranch:
        """See `BaseModel`; guess mode is refused when a job is submitted."""
        return super().controlnet_branch(branch, guess_mode=False)

    @property
    def _configured(self) -> Mapping[str, Any]:
        return {part: module for part, module in self.parts.items() if part not in self.text_encoders}


def modules_of(pipe: Any, facts: FamilyFacts) -> dict[str, Any]:
    """The parts of a pipeline that are there, by name."""
    return {part: module for part in facts.parts if (module := getattr(pipe, part)) is not None}


def repeated(texts: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Tensors of one text as rows of ``count`` images."""
    return {name: tensor.repeat(count, *[1] * (tensor.ndim - 1)) for name, tensor in texts.items()}


def _read(processor: Any, image: Image.Image, size: tuple[int, int]) -> Tensor:
    width, height = size
    pixels: Tensor = processor.preprocess(image, height=height, width=width)
    return pixels.to(torch.float32)
