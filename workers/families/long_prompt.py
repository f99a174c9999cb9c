"""Prompts longer than a text encoder's window: what of them is cut off, or encoded in chunks.

diffusers cuts a prompt at the window. The field's way to have all of it seen: cut its tokens into
chunks of a window without begin and end, give each its own begin and end, encode them one by one, and
lay the embeddings side by side. Shorter texts of the job are filled up with empty chunks, and SDXL's
pooled text is that of the first chunk. A text of one chunk is encoded as diffusers encodes it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared.jobs.spec import JobSpec
from workers.families.base_model import BaseModel


class Text(NamedTuple):
    """A text of a job, as one text encoder reads it."""

    field: str
    text: str
    part: str  # of the pipeline: its tokenizer's name
    encoder: str

    def ids(self, model: BaseModel) -> list[int]:
        """Its tokens, without begin and end."""
        ids: list[int] = getattr(model.pipe, self.part)(self.text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return ids


def cut_off(model: BaseModel, spec: JobSpec) -> list[str]:
    """A sentence for each text of which the text encoder does not see the end."""
    if spec.long_prompt == "chunk":
        return []
    told = []
    for text in {text.field: text for text in (*_positive(model, spec), *_negative(model, spec))}.values():
        tokenizer, ids = getattr(model.pipe, text.part), text.ids(model)
        room = _room(tokenizer)
        if len(ids) > room:
            lost = tokenizer.decode(ids[room:])
            told.append(
                f"{text.field} has {len(ids)} tokens, the text encoder sees {room}; ignored: {lost!r}"
                " (long_prompt 'chunk' has all of it seen)"
            )
    return told


def chunked(model: BaseModel, spec: JobSpec, *, guided: bool) -> dict[str, Tensor | None]:
    """Arguments of diffusers' ``encode_prompt`` in place of texts: embeddings, ``(1, tokens, d)``."""
    positive, negative = _positive(model, spec), _negative(model, spec) if guided else []
    texts = [*positive, *negative]
    count = max(len(_chunks(model, text)) for text in texts)
    embeddings, pooled = _side_by_side(model, positive, count, spec.clip_skip)
    given: dict[str, Tensor | None] = {"prompt_embeds": embeddings}
    if model.is_sdxl:
        given["pooled_prompt_embeds"] = pooled
    if negative:
        # diffusers skips no layers of a negative prompt
        embeddings, pooled = _side_by_side(model, negative, count, None)
        given["negative_prompt_embeds"] = embeddings
        if model.is_sdxl:
            given["negative_pooled_prompt_embeds"] = pooled
    return given


def _positive(model: BaseModel, spec: JobSpec) -> list[Text]:
    first = Text("prompt", spec.prompt, "tokenizer", "text_encoder")
    if not model.is_sdxl:
        return [first]
    field = "prompt_2" if spec.prompt_2 else "prompt"
    return [first, Text(field, spec.prompt_2 or spec.prompt, "tokenizer_2", "text_encoder_2")]


def _negative(model: BaseModel, spec: JobSpec) -> list[Text]:
    """None when SDXL takes zeros in its place, as it does if it is not given."""
    if not model.is_sdxl:
        return [Text("negative_prompt", spec.negative_prompt or "", "tokenizer", "text_encoder")]
    if spec.negative_prompt is None and model.pipe.config.force_zeros_for_empty_prompt:
        return []
    own = spec.negative_prompt or ""
    field = "negative_prompt_2" if spec.negative_prompt_2 else "negative_prompt"
    return [
        Text("negative_prompt", own, "tokenizer", "text_encoder"),
        Text(field, spec.negative_prompt_2 or own, "tokenizer_2", "text_encoder_2"),
    ]


def _room(tokenizer: Any) -> int:
    """Tokens of a window that are not its begin and end."""
    return int(tokenizer.model_max_length) - 2


def _chunks(model: BaseModel, text: Text) -> list[list[int]]:
    ids, room = text.ids(model), _room(getattr(model.pipe, text.part))
    return [ids[start : start + room] for start in range(0, max(len(ids), 1), room)]


def _side_by_side(
    model: BaseModel, texts: list[Text], count: int, clip_skip: int | None
) -> tuple[Tensor, Tensor | None]:
    """Embeddings of all encoders, ``(1, count * window, d)``, and what the last one pools, ``(1, p)``."""
    joined, pooled = [], None
    for text in texts:
        chunks = _chunks(model, text)
        encoded = [
            _encode(model, text, chunk, clip_skip) for chunk in [*chunks, *([[]] * (count - len(chunks)))]
        ]
        joined.append(torch.cat([hidden for hidden, _ in encoded], dim=1))
        pooled = encoded[0][1]
    return torch.cat(joined, dim=-1), pooled


def _encode(
    model: BaseModel, text: Text, chunk: list[int], clip_skip: int | None
) -> tuple[Tensor, Tensor | None]:
    """One window, ``(1, window, d)``; the layer is the one that diffusers' ``encode_prompt`` takes."""
    tokenizer, encoder = getattr(model.pipe, text.part), getattr(model.pipe, text.encoder)
    window = [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id]
    filled = window + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(window))
    ids = torch.tensor([filled], device=encoder.device)
    if model.is_sdxl:
        out = encoder(ids, output_hidden_states=True)
        pooled = out[0] if out[0].ndim == 2 else None
        return out.hidden_states[-2 if clip_skip is None else -(clip_skip + 2)], pooled
    mask = None
    if getattr(encoder.config, "use_attention_mask", False):
        mask = torch.tensor([[1] * len(window) + [0] * (len(filled) - len(window))], device=encoder.device)
    if clip_skip is None:
        return encoder(ids, attention_mask=mask)[0], None
    hidden = encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states[-(clip_skip + 1)]
    return getattr(encoder, "text_model", encoder).final_layer_norm(hidden), None
