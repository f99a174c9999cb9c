"""From words to conditioning, by diffusers' own ``encode_prompt``: here lie the families' differences."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from shared.errors import InvalidRequest
from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel
from workers.families.conditioning import Conditioning
from workers.families.guidance import is_guided
from workers.families.long_prompt import chunked
from workers.families.sdxl_time_ids import time_ids


@torch.inference_mode()
def encode_prompt(model: BaseModel, spec: JobSpec) -> Conditioning:
    """What all rows of a step attend to: ``n`` rows, or ``2n`` when guided (unconditional first)."""
    _check_clip_skip(model, spec)
    guided = is_guided(model.guidance_scale(spec))
    encode = _encode_sdxl if model.is_sdxl else _encode_sd
    return dataclasses.replace(encode(model, spec, guided), guidance=_embed_guidance(model, spec))


def _check_clip_skip(model: BaseModel, spec: JobSpec) -> None:
    """SDXL starts at the last layer but one, so it has one less to leave out."""
    layers = min(encoder.config.num_hidden_layers for encoder in model.text_encoders.values())
    most = layers - 1 if model.is_sdxl else layers
    if spec.clip_skip is not None and spec.clip_skip > most:
        detail = f"clip_skip is {spec.clip_skip}, model {model.name!r} has {most} layers to skip"
        raise InvalidRequest(detail, field="clip_skip")


def _encode_sd(model: BaseModel, spec: JobSpec, guided: bool) -> Conditioning:
    if fields := spec.family_fields:
        detail = f"model {model.name!r} does not know {', '.join(fields)}: only SDXL does"
        raise InvalidRequest(detail, field=fields[0])
    given = chunked(model, spec, guided=guided) if spec.long_prompt == "chunk" else {}
    with named_for_diffusers(model.pipe.text_encoder):
        cond, uncond = model.pipe.encode_prompt(
            None if given else spec.prompt,
            model.pipe.device,
            spec.num_images,
            guided,
            negative_prompt=spec.negative_prompt,
            clip_skip=spec.clip_skip,
            **given,
        )
    return Conditioning(torch.cat([uncond, cond]) if guided else cond)


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


def _encode_sdxl(model: BaseModel, spec: JobSpec, guided: bool) -> Conditioning:
    """Two text encoders side by side; the second one's pooled output and sizes join the time embedding."""
    given = chunked(model, spec, guided=guided) if spec.long_prompt == "chunk" else {}
    cond, uncond, pooled, uncond_pooled = model.pipe.encode_prompt(
        None if given else spec.prompt,
        spec.prompt_2,
        model.pipe.device,
        spec.num_images,
        guided,
        negative_prompt=spec.negative_prompt,
        negative_prompt_2=spec.negative_prompt_2,
        clip_skip=spec.clip_skip,
        **given,
    )
    sizes = time_ids(model, spec, guided=guided, dtype=cond.dtype)
    if not guided:
        return Conditioning(cond, {"text_embeds": pooled, "time_ids": sizes})
    texts = torch.cat([uncond_pooled, pooled])
    return Conditioning(torch.cat([uncond, cond]), {"text_embeds": texts, "time_ids": sizes})


def _embed_guidance(model: BaseModel, spec: JobSpec) -> Tensor | None:
    """The scale as an input, of UNets that have guidance distilled in: ``(n, time_cond_proj_dim)``."""
    width = model.pipe.unet.config.time_cond_proj_dim
    if width is None:
        return None
    scales = torch.tensor(spec.guidance_scale - 1).repeat(spec.num_images)
    embedded: Tensor = model.pipe.get_guidance_scale_embedding(scales, embedding_dim=width)
    return embedded.to(model.pipe.device, model.pipe.unet.dtype)
