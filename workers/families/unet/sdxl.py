"""SDXL: two text encoders, whose pooled output joins the time embedding together with sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shared.jobs.spec import JobSpec
from workers.families.unet.conditioning import UNetConditioning
from workers.families.unet.model import UNetModel
from workers.families.unet.prompts.long_prompt import Text
from workers.families.unet.prompts.weighted_prompt import multiply

#: (height, width) in pixels, as diffusers' pipelines take them.
Size = tuple[int, int]


class SDXLModel(UNetModel):
    """See `UNetModel`."""

    @property
    def skippable_layers(self) -> int:
        """It starts at the last layer but one, so it has one less to leave out."""
        return int(min(encoder.config.num_hidden_layers for encoder in self.text_encoders.values())) - 1

    def positive_texts(self, spec: JobSpec) -> list[Text]:
        """See `UNetModel`."""
        field = "prompt_2" if spec.prompt_2 else "prompt"
        return self._texts(("prompt", spec.prompt), (field, spec.prompt_2 or spec.prompt))

    def negative_texts(self, spec: JobSpec) -> list[Text]:
        """None when SDXL takes zeros in its place, as it does if it is not given."""
        if spec.negative_prompt is None and self.pipe.config.force_zeros_for_empty_prompt:
            return []
        own = spec.negative_prompt or ""
        field = "negative_prompt_2" if spec.negative_prompt_2 else "negative_prompt"
        return self._texts(("negative_prompt", own), (field, spec.negative_prompt_2 or own))

    def encode_window(
        self, encoder: Any, ids: Tensor, length: int, clip_skip: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """See `UNetModel`."""
        out = encoder(ids, output_hidden_states=True)
        pooled = out[0] if out[0].ndim == 2 else None
        return out.hidden_states[-2 if clip_skip is None else -(clip_skip + 2)], pooled

    def weigh_tokens(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        """See `UNetModel`."""
        return multiply(embeddings, weights)

    def _texts(self, first: tuple[str, str], second: tuple[str, str]) -> list[Text]:
        pipe = self.pipe
        return [
            Text(*first, pipe.tokenizer, pipe.text_encoder),
            Text(*second, pipe.tokenizer_2, pipe.text_encoder_2),
        ]

    def _encode(
        self, spec: JobSpec, given: Mapping[str, Tensor], *, is_guided: bool
    ) -> dict[str, Tensor | None]:
        cond, uncond, pooled, uncond_pooled = self.pipe.encode_prompt(
            None if given else spec.prompt,
            spec.prompt_2,
            self.device,
            1,
            is_guided,
            negative_prompt=spec.negative_prompt,
            negative_prompt_2=spec.negative_prompt_2,
            clip_skip=spec.clip_skip,
            **given,
        )
        if not is_guided:
            return {"cond": cond, "pooled": pooled}
        return {"cond": cond, "pooled": pooled, "uncond": uncond, "uncond_pooled": uncond_pooled}

    def _join(self, spec: JobSpec, texts: Mapping[str, Tensor], *, is_guided: bool) -> UNetConditioning:
        cond, pooled = texts["cond"], texts["pooled"]
        sizes = self._time_ids(spec, is_guided=is_guided, dtype=cond.dtype)
        if not is_guided:
            return UNetConditioning(cond, {"text_embeds": pooled, "time_ids": sizes})
        both_pooled = torch.cat([texts["uncond_pooled"], pooled])
        both = torch.cat([texts["uncond"], cond])
        return UNetConditioning(both, {"text_embeds": both_pooled, "time_ids": sizes})

    def _time_ids(self, spec: JobSpec, *, is_guided: bool, dtype: torch.dtype) -> Tensor:
        """The sizes, one row of 6 for each row of a step, the unconditional ones first when guided."""
        cond = self._row(spec, spec.original_size, spec.crops_coords_top_left, spec.target_size, dtype)
        if not is_guided:
            return cond.repeat(spec.num_images, 1)
        if spec.image is not None:
            rows = (self._uncond_row_of_image(spec, dtype), cond)
            return torch.cat([row.repeat(spec.num_images, 1) for row in rows])
        # From text, diffusers repeats the pair, not its rows: they alternate if there are several images.
        return torch.cat([self._uncond_row_of_text(spec, cond), cond]).repeat(spec.num_images, 1)

    def _uncond_row_of_text(self, spec: JobSpec, cond: Tensor) -> Tensor:
        """The unconditional row counts only when both of its sizes are given."""
        original, target = spec.negative_original_size, spec.negative_target_size
        if original is None or target is None:
            return cond
        return self._row(spec, original, spec.negative_crops_coords_top_left, target, cond.dtype)

    def _uncond_row_of_image(self, spec: JobSpec, dtype: torch.dtype) -> Tensor:
        """Each size counts for itself, and the crop is the conditional branch's."""
        original = spec.negative_original_size or spec.original_size
        target = spec.negative_target_size or spec.target_size
        return self._row(spec, original, spec.crops_coords_top_left, target, dtype)

    def _row(
        self, spec: JobSpec, original: Size | None, crop: Size, target: Size | None, dtype: torch.dtype
    ) -> Tensor:
        """``(1, 6)``; sizes that are not given are the image's."""
        width, height = self.size(spec.width, spec.height)
        row: Tensor = self.pipe._get_add_time_ids(
            original or (height, width),
            crop,
            target or (height, width),
            dtype=dtype,
            text_encoder_projection_dim=self.pipe.text_encoder_2.config.projection_dim,
        )
        return row.to(self.device)
