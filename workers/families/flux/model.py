"""Flux.1 base models: dev, whose guidance is distilled in, and schnell, which has none."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from shared.catalog.schedulers import SCHEDULERS
from shared.errors import InvalidRequest
from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.families.flux import FLUX, sees_pixels
from shared.jobs.spec import JobSpec
from workers.families.flux.conditioning import FluxConditioning
from workers.families.flux.forward import staged_forward
from workers.families.flux.lora_targets import flux_lora_targets
from workers.families.staged_forward import StagedForward
from workers.families.transformer.flow_match import job_sigmas, shift_of_size
from workers.families.transformer.guidance import TrueGuidance
from workers.families.transformer.latents import PackedLatents
from workers.families.transformer.lora_targets import TransformerLoraTargets
from workers.families.transformer.model import (
    NOTHING_KNOWN,
    LoadInfo,
    TransformerModel,
    repeated,
)
from workers.families.transformer.texts import TokenWindow
from workers.families.transformer.two_forwards import BranchPair


class FluxModel(TransformerModel):
    """See `BaseModel`."""

    text_fields = frozenset({"prompt", "prompt_2", "max_sequence_length"})

    def __init__(self, name: str, pipe: Any, info: LoadInfo = NOTHING_KNOWN) -> None:
        super().__init__(name, FLUX, pipe, info)
        self.latents: PackedLatents = PackedLatents(pipe.vae, pipe.transformer, pipe.vae_scale_factor)

    @property
    def lora_targets(self) -> TransformerLoraTargets:
        """See `BaseModel`."""
        return flux_lora_targets(self.lora_parts)

    def guidance(self, spec: JobSpec) -> TrueGuidance:
        """See `BaseModel`."""
        return TrueGuidance(spec, FLUX.true_cfg_scale)

    def token_windows(self, spec: JobSpec) -> list[TokenWindow]:
        """See `TransformerModel`."""
        texts = [("prompt", spec.prompt, spec.prompt_2)]
        if self.guidance(spec).is_guided:
            texts.append(("negative_prompt", spec.negative_prompt or "", spec.negative_prompt_2))
        clip, t5 = self.pipe.tokenizer_max_length, self.text_tokens(spec)
        windows = []
        for field, text, second in texts:
            windows.append(TokenWindow(field, text, self.pipe.tokenizer, clip))
            name = f"{field}_2" if second else field
            windows.append(TokenWindow(name, second or text, self.pipe.tokenizer_2, t5))
        return windows

    @torch.inference_mode()
    def encode_texts(self, spec: JobSpec) -> dict[str, Tensor]:
        """See `BaseModel`."""
        embeddings, pooled = self._encode(spec.prompt, spec.prompt_2, spec)
        texts = {"embeddings": embeddings, "pooled": pooled}
        if self.guidance(spec).is_guided:
            negative = self._encode(spec.negative_prompt or "", spec.negative_prompt_2, spec)
            texts["negative_embeddings"], texts["negative_pooled"] = negative
        return texts

    @torch.inference_mode()
    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> FluxConditioning | BranchPair:
        """See `BaseModel`."""
        rows = repeated(texts, spec.num_images)
        embeddings = rows["embeddings"]
        guidance = torch.full([1], spec.guidance_scale, device=self.device, dtype=torch.float32)
        guidance = guidance.repeat(spec.num_images)
        positions = self._positions(spec, embeddings.dtype)
        cond = FluxConditioning(embeddings, rows["pooled"], guidance, positions)
        if not self.guidance(spec).is_guided:
            return cond
        uncond = FluxConditioning(rows["negative_embeddings"], rows["negative_pooled"], guidance, positions)
        return BranchPair(uncond, cond)

    def timestep_options(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        rows, columns = self.latents.tokens(self.size(spec.width, spec.height))
        options: dict[str, Any] = {"mu": shift_of_size(rows * columns, self.scheduler_config)}
        if not self._has_own_sigmas(spec):
            return options | {"sigmas": job_sigmas(spec)}
        if spec.sigmas is not None:
            detail = f"the scheduler of model {self.name!r} has use_flow_sigmas: diffusers gives it no others"
            raise InvalidRequest(f"sigmas: {detail}", field="sigmas")
        return options

    @torch.inference_mode()
    def control_inputs(
        self,
        spec: JobSpec,
        pixels: Sequence[Tensor],
        controlnets: Sequence[Config],
        generators: Sequence[Generator],
    ) -> list[Tensor]:
        """See `BaseModel`: latents, sampled from the images' generators; XLabs' ControlNets see pixels."""
        return [
            image if sees_pixels(config) else self.latents.sample_control(image, generators)
            for image, config in zip(pixels, controlnets, strict=True)
        ]

    def forward(self, x: Tensor, t: Tensor, conditioning: Any, plan: ControlPlan | None) -> StagedForward:
        """See `TransformerModel`; ``conditioning`` is a `FluxConditioning`."""
        return staged_forward(self.denoiser, x, t, conditioning, plan)

    def _has_own_sigmas(self, spec: JobSpec) -> bool:
        """Whether the scheduler chooses sigmas: diffusers' pipeline for text alone asks its config."""
        config = {**self.scheduler_config, **SCHEDULERS[spec.scheduler].options}
        is_from_text = spec.image is None and not spec.controlnets
        return is_from_text and bool(config.get("use_flow_sigmas"))

    def _encode(self, prompt: str, prompt_2: str | None, spec: JobSpec) -> tuple[Tensor, Tensor]:
        """Embeddings, ``(1, tokens, d)``, and what is pooled, ``(1, p)``."""
        embeddings, pooled, _ = self.pipe.encode_prompt(
            prompt, prompt_2, device=self.device, max_sequence_length=self.text_tokens(spec)
        )
        return embeddings, pooled

    def _positions(self, spec: JobSpec, dtype: torch.dtype) -> Tensor:
        """``(n, h, w, 3)``, rounded as diffusers rounds them."""
        rows, columns = self.latents.tokens(self.size(spec.width, spec.height))
        positions = torch.zeros(rows, columns, 3, dtype=torch.float32, device=self.device)
        positions[..., 1] += torch.arange(rows, device=self.device)[:, None]
        positions[..., 2] += torch.arange(columns, device=self.device)[None, :]
        return positions.to(dtype).repeat(spec.num_images, 1, 1, 1)
