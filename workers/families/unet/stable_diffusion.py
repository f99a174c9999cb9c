"""Stable Diffusion 1.x and 2.x: one text encoder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from shared.jobs.spec import JobSpec
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.model import UNetModel
from workers.families.unet.prompts.long_prompt import Text
from workers.families.unet.prompts.weighted_prompt import multiply_restoring_mean


class StableDiffusionModel(UNetModel):
    """See `UNetModel`."""

    @property
    def skippable_layers(self) -> int:
        """See `UNetModel`."""
        return int(self.pipe.text_encoder.config.num_hidden_layers)

    def positive_texts(self, spec: JobSpec) -> list[Text]:
        """See `UNetModel`."""
        return [Text("prompt", spec.prompt, self.pipe.tokenizer, self.pipe.text_encoder)]

    def negative_texts(self, spec: JobSpec) -> list[Text]:
        """See `UNetModel`."""
        text = spec.negative_prompt or ""
        return [Text("negative_prompt", text, self.pipe.tokenizer, self.pipe.text_encoder)]

    def encode_window(
        self, encoder: Any, ids: Tensor, length: int, clip_skip: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """See `UNetModel`."""
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            mask = (torch.arange(ids.shape[1], device=ids.device) < length).long().unsqueeze(0)
        if clip_skip is None:
            return encoder(ids, attention_mask=mask)[0], None
        states = encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        return norm(states[-(clip_skip + 1)]), None

    def weigh_tokens(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        """See `UNetModel`."""
        return multiply_restoring_mean(embeddings, weights)

    def _encode(
        self, spec: JobSpec, given: Mapping[str, Tensor], *, is_guided: bool
    ) -> dict[str, Tensor | None]:
        with named_for_diffusers(self.pipe.text_encoder):
            cond, uncond = self.pipe.encode_prompt(
                None if given else spec.prompt,
                self.device,
                1,
                is_guided,
                negative_prompt=spec.negative_prompt,
                clip_skip=spec.clip_skip,
                **given,
            )
        return {"cond": cond, "uncond": uncond if is_guided else None}

    def _join(self, spec: JobSpec, texts: Mapping[str, Tensor], *, is_guided: bool) -> UNetConditioning:
        return UNetConditioning(torch.cat([texts["uncond"], texts["cond"]]) if is_guided else texts["cond"])


@contextmanager
def named_for_diffusers(encoder: Any) -> Iterator[None]:
    """diffusers 0.42 looks for a level ``text_model``, which transformers 5 has dropped, at ``clip_skip``."""
    if hasattr(encoder, "text_model"):
        yield
        return
    vars(encoder)["text_model"] = encoder  # not as a module: weights keep one name each
    try:
        yield
    finally:
        del vars(encoder)["text_model"]
