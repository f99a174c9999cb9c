"""Base models of Stable Diffusion 3 and 3.5, medium and large."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from shared.errors import InvalidRequest
from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.families.sd3 import SD3, zeroes_pooled
from shared.jobs.spec import JobSpec
from workers.families.base import MaskedImage
from workers.families.guidance import ClassifierFreeGuidance
from workers.families.sd3.conditioning import SD3Conditioning
from workers.families.sd3.control_latents import sample_control_latents
from workers.families.sd3.forward import staged_forward
from workers.families.sd3.latents import SD3Latents
from workers.families.sd3.lora_targets import sd3_lora_targets
from workers.families.staged_forward import StagedForward
from workers.families.transformer.flow_match import shift_of_size
from workers.families.transformer.inpainting import append_mask, blank_masked, sampling_generator
from workers.families.transformer.lora_targets import TransformerLoraTargets
from workers.families.transformer.model import (
    NOTHING_KNOWN,
    LoadInfo,
    TransformerModel,
    repeated,
)
from workers.families.transformer.texts import TokenWindow

#: Of ``mu``, where the scheduler's config does not say it.
_MAX_SHIFT = 1.16


class SD3Model(TransformerModel):
    """See `BaseModel`."""

    text_fields = frozenset({"prompt", "prompt_2", "prompt_3", "max_sequence_length", "clip_skip"})

    def __init__(self, name: str, pipe: Any, info: LoadInfo = NOTHING_KNOWN) -> None:
        super().__init__(name, SD3, pipe, info)
        self.latents = SD3Latents(pipe.vae, pipe.transformer, pipe.vae_scale_factor)

    @property
    def lora_targets(self) -> TransformerLoraTargets:
        """See `BaseModel`."""
        return sd3_lora_targets(self.lora_parts)

    def guidance(self, spec: JobSpec) -> ClassifierFreeGuidance:
        """See `BaseModel`."""
        return ClassifierFreeGuidance(spec.guidance_scale)

    def token_windows(self, spec: JobSpec) -> list[TokenWindow]:
        """See `TransformerModel`."""
        pipe, clip = self.pipe, self.pipe.tokenizer_max_length
        tokenizers = [(pipe.tokenizer, clip), (pipe.tokenizer_2, clip)]
        if pipe.text_encoder_3 is not None:
            tokenizers.append((pipe.tokenizer_3, self.text_tokens(spec)))
        windows = []
        for field in ("prompt", "negative_prompt") if self.guidance(spec).is_guided else ("prompt",):
            for number, (tokenizer, tokens) in enumerate(tokenizers, 1):
                own = getattr(spec, f"{field}_{number}") if number > 1 else None
                text, name = own or getattr(spec, field) or "", f"{field}_{number}" if own else field
                windows.append(TokenWindow(name, text, tokenizer, tokens))
        return windows

    def text_inputs(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        layers = min(encoder.config.num_hidden_layers for encoder in self._clip) - 1
        if spec.clip_skip is not None and spec.clip_skip > layers:
            detail = f"clip_skip is {spec.clip_skip}; model {self.name!r} has {layers} layers to leave out"
            raise InvalidRequest(detail, field="clip_skip")
        return super().text_inputs(spec)

    @property
    def text_facts(self) -> Mapping[str, Any]:
        """See `TransformerModel`; without T5, how wide the zeros in place of its tokens are."""
        if "text_encoder_3" in self.text_encoders:
            return {}
        return {"joint_attention_dim": self.denoiser_config["joint_attention_dim"]}

    @torch.inference_mode()
    def encode_texts(self, spec: JobSpec) -> dict[str, Tensor]:
        """See `BaseModel`; without T5, its tokens are zeros."""
        self.text_inputs(spec)  # which may refuse the job
        is_guided = self.guidance(spec).is_guided
        cond, uncond, pooled, uncond_pooled = self.pipe.encode_prompt(
            spec.prompt,
            spec.prompt_2,
            spec.prompt_3,
            device=self.device,
            do_classifier_free_guidance=is_guided,
            negative_prompt=spec.negative_prompt,
            negative_prompt_2=spec.negative_prompt_2,
            negative_prompt_3=spec.negative_prompt_3,
            clip_skip=spec.clip_skip,
            max_sequence_length=self.text_tokens(spec),
        )
        texts = {"embeddings": cond, "pooled": pooled}
        if is_guided:
            texts |= {"negative_embeddings": uncond, "negative_pooled": uncond_pooled}
        return texts

    def make_conditioning(self, spec: JobSpec, texts: Mapping[str, Tensor]) -> SD3Conditioning:
        """See `BaseModel`."""
        rows = repeated(texts, spec.num_images)
        if not self.guidance(spec).is_guided:
            return SD3Conditioning(rows["embeddings"], rows["pooled"])
        return SD3Conditioning(
            torch.cat([rows["negative_embeddings"], rows["embeddings"]]),
            torch.cat([rows["negative_pooled"], rows["pooled"]]),
        )

    def timestep_options(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        if not self.scheduler_config.get("use_dynamic_shifting"):
            return {}
        pixels = self.pipe.vae_scale_factor * self.denoiser_config["patch_size"]
        width, height = self.size(spec.width, spec.height)
        tokens = (width // pixels) * (height // pixels)
        return {"mu": shift_of_size(tokens, self.scheduler_config, _MAX_SHIFT)}

    @torch.inference_mode()
    def control_inputs(
        self,
        spec: JobSpec,
        pixels: Sequence[Tensor],
        controlnets: Sequence[Config],
        generators: Sequence[Generator],
    ) -> list[Tensor]:
        """See `BaseModel`: latents for all rows of a guided step, not from the images' generators."""
        rows = spec.num_images * (2 if self.guidance(spec).is_guided else 1)
        is_shifted = not any(map(zeroes_pooled, controlnets))  # all of a job are alike
        # One row for each of the step's: their number decides the last bits.
        images, generator = [one.repeat_interleave(rows, dim=0) for one in pixels], sampling_generator(spec)
        vae = self.pipe.vae
        return [sample_control_latents(vae, one, generator, is_shifted=is_shifted) for one in images]

    @torch.inference_mode()
    def masked_control_inputs(
        self, spec: JobSpec, pixels: Sequence[Tensor], controlnets: Sequence[Config], masked: MaskedImage
    ) -> list[Tensor]:
        """See `BaseModel`: latents of the job's image, sampled once for each ControlNet, and the mask."""
        branches = 2 if self.guidance(spec).is_guided else 1
        images, vae = blank_masked(masked, spec.num_images), self.pipe.vae
        generator = sampling_generator(spec)
        sampled = (sample_control_latents(vae, images, generator, is_shifted=True) for _ in controlnets)
        return [append_mask(latents, masked.mask).repeat(branches, 1, 1, 1) for latents in sampled]

    def forward(self, x: Tensor, t: Tensor, conditioning: Any, plan: ControlPlan | None) -> StagedForward:
        """See `TransformerModel`; ``conditioning`` is an `SD3Conditioning`."""
        return staged_forward(self.denoiser, x, t, conditioning, plan)

    @property
    def _clip(self) -> list[Any]:
        return [self.text_encoders["text_encoder"], self.text_encoders["text_encoder_2"]]
