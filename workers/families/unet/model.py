"""Base models of the UNet families: what Stable Diffusion 1.x, 2.x, SDXL and their variants share.

Their members differ in how texts become conditioning: `workers.families.unet.stable_diffusion`,
`workers.families.unet.sdxl`. Everything else that sets models apart stands in their configs.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from shared.errors import InvalidRequest, ModelFailed
from shared.families.controlnets import ControlPlan
from shared.families.registry import family_of
from shared.jobs.spec import JobSpec
from workers.engines.base import Engine
from workers.engines.eager import EAGER
from workers.families.base import BaseModel
from workers.families.guidance import ClassifierFreeGuidance
from workers.families.staged_forward import Residuals, StagedForward
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.forward import forward_encoder, staged_forward
from workers.families.unet.lora_scales import unet_layer_scales
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.families.unet.prompts.long_prompt import (
    Text,
    encode_in_chunks,
    split_in_windows,
    truncation_warnings,
)
from workers.families.unet.prompts.weighted_prompt import check_weighted, split_weighted
from workers.families.unet.stages import UNetStages
from workers.families.vae.latents import VaeLatents
from workers.lora.scales import LayerScales
from workers.runtime.weights.configs import text_encoders_sha256
from workers.runtime.weights.loaded import weights_sha256


class UNetModel(BaseModel):
    """A pipeline of diffusers, of which the worker uses the parts."""

    def __init__(
        self,
        name: str,
        pipe: Any,
        switches: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        text_sha256: str | None = None,
    ) -> None:
        """``switches`` of diffusers that are on in ``pipe``, for the receipt.

        ``sha256``, and ``text_sha256`` of the text encoders' weights alone, if they are known.
        """
        encoders = {part: getattr(pipe, part, None) for part in ("text_encoder", "text_encoder_2")}
        self.text_encoders = {part: encoder for part, encoder in encoders.items() if encoder is not None}
        # The class of the pipeline does not tell SD 2 from SD 1: the config of its UNet does.
        facts = family_of({"unet": pipe.unet.config})
        if facts is None:
            raise ModelFailed(f"model {name!r} has a UNet of no family that is served")
        parts = {"unet": pipe.unet, "vae": pipe.vae, **self.text_encoders}
        super().__init__(name, facts, parts, switches, sha256)
        self.text_weights_sha256 = text_sha256 or weights_sha256(self.text_encoders)
        self.pipe = pipe
        self.unet = pipe.unet
        self._stages = UNetStages(pipe.unet)
        factor = pipe.vae_scale_factor
        # SDXL's pipelines alone follow this config: to encode in every type, to decode in float16.
        is_upcast = isinstance(pipe, StableDiffusionXLPipeline) and bool(pipe.vae.config.force_upcast)
        self.latents = VaeLatents(pipe.vae, pipe.unet, factor, encodes_in_float32=is_upcast)
        # Control images keep their range 0..1, as in StableDiffusionControlNetPipeline.
        self._control_images = VaeImageProcessor(
            vae_scale_factor=factor, do_convert_rgb=True, do_normalize=False
        )
        self._masks = VaeImageProcessor(
            vae_scale_factor=factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    # --- what the members differ in ----------------------------------------------------------------

    @property
    @abstractmethod
    def skippable_layers(self) -> int:
        """The highest ``clip_skip``."""

    @abstractmethod
    def positive_texts(self, spec: JobSpec) -> list[Text]:
        """The prompt, as each text encoder reads it."""

    @abstractmethod
    def negative_texts(self, spec: JobSpec) -> list[Text]:
        """The negative prompt, as each text encoder reads it; none where zeros stand in its place."""

    @abstractmethod
    def encode_window(
        self, encoder: Any, ids: Tensor, length: int, clip_skip: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """See `workers.families.unet.prompts.long_prompt.EncodeWindow`; the layer is diffusers'."""

    @abstractmethod
    def weigh_tokens(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        """Embeddings of a window, ``(1, window, d)``, by the weights of its tokens, ``(1, window)``."""

    @abstractmethod
    def _encode(
        self, spec: JobSpec, given: Mapping[str, Tensor], *, is_guided: bool
    ) -> Mapping[str, Tensor | None]:
        """The texts of the job as diffusers' ``encode_prompt`` does it; ``given`` stands for texts.

        ``cond`` and ``uncond``, ``(1, tokens, d)``, and what is pooled; ``None`` where it is not guided.
        """

    @abstractmethod
    def _join(self, spec: JobSpec, texts: Mapping[str, Tensor], *, is_guided: bool) -> UNetConditioning:
        """The rows of a step from ``texts``, which have the rows of the job's images."""

    # --- see `BaseModel` ---------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """See `BaseModel`."""
        device: torch.device = self.unet.conv_in.weight.device  # the pipeline's looks through all modules
        return device

    @property
    def dtype(self) -> torch.dtype:
        """See `BaseModel`."""
        dtype: torch.dtype = self.unet.conv_in.weight.dtype
        return dtype

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """See `BaseModel`."""
        config: Mapping[str, Any] = self.pipe.scheduler.config
        return config

    @property
    def is_inpainting(self) -> bool:
        """See `BaseModel`."""
        return self.facts.is_inpainting(self.unet.config)

    @property
    def lora_targets(self) -> UNetLoraTargets:
        """See `BaseModel`."""
        return UNetLoraTargets(self.lora_parts)

    @property
    def layer_scales(self) -> LayerScales:
        """See `BaseModel`."""
        return unet_layer_scales

    def size(self, width: int | None, height: int | None) -> tuple[int, int]:
        """See `BaseModel`."""
        own = self.unet.config.sample_size
        own_h, own_w = (own, own) if isinstance(own, int) else own
        factor = self.pipe.vae_scale_factor
        return width or own_w * factor, height or own_h * factor

    def guidance(self, spec: JobSpec) -> ClassifierFreeGuidance:
        """See `BaseModel`."""
        is_distilled = self.facts.has_distilled_guidance(self.unet.config)
        return ClassifierFreeGuidance(1.0 if is_distilled else spec.guidance_scale, spec.guidance_rescale)

    def check_images(self, spec: JobSpec) -> None:
        """See `BaseModel`."""
        channels = self.unet.config.in_channels
        if self.is_inpainting:
            if spec.image is None or spec.mask_image is None:
                detail = f"model {self.name!r} was trained to inpaint: it needs an image and a mask_image"
                raise InvalidRequest(detail, field="mask_image")
        elif channels != self.pipe.vae.config.latent_channels:
            detail = f"the UNet of model {self.name!r} takes {channels} channels: that mode is not served"
            raise InvalidRequest(detail, field="model")

    def read_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self.pipe.image_processor, image, size).to(self.device)

    def read_mask(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self._masks, image, size).to(self.device)

    def read_control_image(self, image: Image.Image, size: tuple[int, int]) -> Tensor:
        """See `BaseModel`."""
        return _read(self._control_images, image, size)

    @cached_property
    def text_encoders_sha256(self) -> str:
        """See `BaseModel`."""
        facts = {"force_zeros": dict(self.pipe.config).get("force_zeros_for_empty_prompt")}
        encoders = {
            part: (encoder, getattr(self.pipe, self.facts.tokenizers[part]))
            for part, encoder in self.text_encoders.items()
        }
        return text_encoders_sha256(self.text_weights_sha256, encoders, facts)

    def text_inputs(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        if spec.clip_skip is not None and spec.clip_skip > self.skippable_layers:
            most = self.skippable_layers
            detail = f"clip_skip is {spec.clip_skip}, model {self.name!r} has {most} layers to skip"
            raise InvalidRequest(detail, field="clip_skip")
        if spec.prompt_syntax == "a1111":
            for text in (*self.positive_texts(spec), *self.negative_texts(spec)):
                check_weighted(text)
        is_guided = self.guidance(spec).is_guided
        negative = {"negative_prompt", "negative_prompt_2"} if is_guided else set()
        read = {"prompt", "prompt_2", "clip_skip", "long_prompt", "prompt_syntax"} | negative
        return {"is_guided": is_guided, **spec.model_dump(include=read)}

    @torch.inference_mode()
    def encode_texts(self, spec: JobSpec) -> dict[str, Tensor]:
        """See `BaseModel`."""
        self.text_inputs(spec)  # refuses what the model cannot follow
        is_guided = self.guidance(spec).is_guided
        given = self._encode_chunks(spec, is_guided=is_guided) if _is_chunked(spec) else {}
        encoded = self._encode(spec, given, is_guided=is_guided)
        return {name: tensor for name, tensor in encoded.items() if tensor is not None}

    @torch.inference_mode()
    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> UNetConditioning:
        """See `BaseModel`."""
        rows = {
            name: tensor.repeat(spec.num_images, *[1] * (tensor.ndim - 1)) for name, tensor in texts.items()
        }
        conditioning = self._join(spec, rows, is_guided=self.guidance(spec).is_guided)
        return dataclasses.replace(conditioning, guidance=self._embed_guidance(spec))

    def prompt_warnings(self, spec: JobSpec) -> list[str]:
        """See `BaseModel`."""
        if _is_chunked(spec):
            return []
        return truncation_warnings([*self.positive_texts(spec), *self.negative_texts(spec)])

    def staged_forward(
        self,
        x: Tensor,
        t: Tensor,
        conditioning: Any,
        engine: Engine = EAGER,
        plan: ControlPlan | None = None,
    ) -> StagedForward:
        """See `BaseModel`; ``conditioning`` is a `UNetConditioning`. It asks for all residuals."""
        return staged_forward(self._stages, x, t, conditioning, engine)

    def example_residuals(self, x: Tensor, t: Tensor, conditioning: Any) -> Residuals:
        """See `BaseModel`; zeros."""
        encoded = forward_encoder(self._stages, x, t, conditioning, EAGER.begin())
        levels = [*encoded.skips, encoded.x]
        return lambda index: torch.zeros_like(levels[index])

    def controlnet_latents(self, x: Tensor) -> Tensor:
        """See `BaseModel`."""
        channels = self.pipe.vae.config.latent_channels
        return x if x.shape[1] == channels else x[:, :channels].contiguous()

    def _encode_chunks(self, spec: JobSpec, *, is_guided: bool) -> dict[str, Tensor]:
        split = split_weighted if spec.prompt_syntax == "a1111" else split_in_windows
        negative = self.negative_texts(spec) if is_guided else []
        return encode_in_chunks(
            [split(text) for text in self.positive_texts(spec)],
            [split(text) for text in negative],
            partial(self._encode_window, spec.clip_skip),
            partial(self._encode_window, None),  # diffusers skips no layers of it
        )

    def _encode_window(
        self, clip_skip: int | None, encoder: Any, ids: Tensor, length: int, weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        embeddings, pooled = self.encode_window(encoder, ids, length, clip_skip)
        return embeddings if weights is None else self.weigh_tokens(embeddings, weights), pooled

    def _embed_guidance(self, spec: JobSpec) -> Tensor | None:
        """The scale as an input, of UNets that have guidance distilled in: ``(n, time_cond_proj_dim)``."""
        width = self.unet.config.time_cond_proj_dim
        if width is None:
            return None
        scales = torch.tensor(spec.guidance_scale - 1, dtype=torch.float32).repeat(spec.num_images)
        embedded: Tensor = self.pipe.get_guidance_scale_embedding(scales, embedding_dim=width)
        return embedded.to(self.device, self.dtype)


def _is_chunked(spec: JobSpec) -> bool:
    """Whether texts are encoded chunk by chunk, and none of them is cut."""
    return spec.long_prompt == "chunk" or spec.prompt_syntax == "a1111"


def _read(processor: Any, image: Image.Image, size: tuple[int, int]) -> Tensor:
    width, height = size
    pixels: Tensor = processor.preprocess(image, height=height, width=width)
    return pixels.to(torch.float32)
