"""Qwen-Image base models, which make images from texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from shared.families.base import Config
from shared.families.controlnets import ControlPlan
from shared.families.qwen_image import QWEN_IMAGE
from shared.jobs.spec import JobSpec
from workers.families.base import MaskedImage
from workers.families.qwen_image.conditioning import QwenImageConditioning
from workers.families.qwen_image.forward import staged_forward
from workers.families.qwen_image.guidance import NormPreservingGuidance
from workers.families.qwen_image.latents import QwenImageLatents
from workers.families.qwen_image.lora_targets import qwen_image_lora_targets
from workers.families.staged_forward import StagedForward
from workers.families.transformer.flow_match import job_sigmas, shift_of_size
from workers.families.transformer.inpainting import sampling_generator
from workers.families.transformer.lora_targets import TransformerLoraTargets
from workers.families.transformer.model import (
    NOTHING_KNOWN,
    LoadInfo,
    TransformerModel,
    repeated,
)
from workers.families.transformer.texts import TemplateTokenizer, TokenWindow
from workers.families.transformer.two_forwards import BranchPair


class QwenImageModel(TransformerModel):
    """See `BaseModel`."""

    text_fields = frozenset({"prompt", "max_sequence_length"})

    def __init__(self, name: str, pipe: Any, info: LoadInfo = NOTHING_KNOWN) -> None:
        super().__init__(name, QWEN_IMAGE, pipe, info)
        self.latents: QwenImageLatents = QwenImageLatents(pipe.vae, pipe.transformer, pipe.vae_scale_factor)

    @property
    def lora_targets(self) -> TransformerLoraTargets:
        """See `BaseModel`."""
        return qwen_image_lora_targets(self.lora_parts)

    def guidance(self, spec: JobSpec) -> NormPreservingGuidance:
        """See `BaseModel`."""
        return NormPreservingGuidance(spec, QWEN_IMAGE.true_cfg_scale)

    def token_windows(self, spec: JobSpec) -> list[TokenWindow]:
        """See `TransformerModel`."""
        texts = {"prompt": spec.prompt}
        if self.guidance(spec).is_guided:
            texts["negative_prompt"] = spec.negative_prompt or ""
        tokenizer = TemplateTokenizer(self.pipe.tokenizer, self.pipe.prompt_template_encode)
        tokens = self.text_tokens(spec)
        return [TokenWindow(field, text, tokenizer, tokens, closing=0) for field, text in texts.items()]

    @torch.inference_mode()
    def encode_texts(self, spec: JobSpec) -> dict[str, Tensor]:
        """See `BaseModel`; the texts of the branches may have numbers of tokens of their own."""
        texts = {"embeddings": self._encode(spec.prompt, spec)}
        if self.guidance(spec).is_guided:
            texts["negative_embeddings"] = self._encode(spec.negative_prompt or "", spec)
        return texts

    @torch.inference_mode()
    def make_conditioning(
        self, spec: JobSpec, texts: Mapping[str, Tensor]
    ) -> QwenImageConditioning | BranchPair:
        """See `BaseModel`."""
        rows = repeated(texts, spec.num_images)
        tokens = self.latents.tokens(self.size(spec.width, spec.height))
        grid = torch.zeros(spec.num_images, *tokens, dtype=torch.uint8, device=self.device)
        cond = QwenImageConditioning(rows["embeddings"], grid)
        if not self.guidance(spec).is_guided:
            return cond
        return BranchPair(QwenImageConditioning(rows["negative_embeddings"], grid), cond)

    def timestep_options(self, spec: JobSpec) -> dict[str, Any]:
        """See `BaseModel`."""
        rows, columns = self.latents.tokens(self.size(spec.width, spec.height))
        return {"mu": shift_of_size(rows * columns, self.scheduler_config), "sigmas": job_sigmas(spec)}

    @torch.inference_mode()
    def control_inputs(
        self,
        spec: JobSpec,
        pixels: Sequence[Tensor],
        controlnets: Sequence[Config],
        generators: Sequence[Generator],
    ) -> list[Tensor]:
        """See `BaseModel`: latents, sampled from the images' generators."""
        return [self.latents.sample_control(image, generators) for image in pixels]

    @torch.inference_mode()
    def masked_control_inputs(
        self, spec: JobSpec, pixels: Sequence[Tensor], controlnets: Sequence[Config], masked: MaskedImage
    ) -> list[Tensor]:
        """See `BaseModel`: latents of the job's image, not from the images' generators, and the mask."""
        generator = sampling_generator(spec)
        return [self.latents.sample_masked(masked, spec.num_images, generator) for _ in controlnets]

    def forward(self, x: Tensor, t: Tensor, conditioning: Any, plan: ControlPlan | None) -> StagedForward:
        """See `TransformerModel`; ``conditioning`` is a `QwenImageConditioning`."""
        return staged_forward(self.denoiser, x, t, conditioning, plan)

    def _encode(self, text: str, spec: JobSpec) -> Tensor:
        """``(1, tokens, d)``."""
        tokens = self.text_tokens(spec)
        embeddings: Tensor = self.pipe.encode_prompt(text, device=self.device, max_sequence_length=tokens)[0]
        return embeddings
