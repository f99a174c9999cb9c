"""Prompts longer than a text encoder's window: what of them is cut off, or encoded in chunks.

diffusers cuts a prompt at the window. The field's way to have all of it seen: cut its tokens into
chunks of a window without begin and end, give each its own begin and end, encode them one by one, and
join the embeddings. Shorter texts of the job are filled up with empty chunks, and SDXL's pooled text is
that of the first chunk. A text of one chunk is encoded as diffusers encodes it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Text(NamedTuple):
    """A text of a job, as one text encoder reads it."""

    field: str  # of the job
    text: str
    tokenizer: Any
    encoder: Any

    @property
    def window(self) -> int:
        """Tokens that the encoder sees, without begin and end."""
        return int(self.tokenizer.model_max_length) - 2

    @property
    def ids(self) -> list[int]:
        """Its tokens, without begin and end."""
        ids: list[int] = self.tokenizer(self.text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


class Chunk(NamedTuple):
    """Tokens that are encoded together, a window at most, and the weight of each; None: they count as 1."""

    ids: list[int]
    weights: list[float] | None = None


class SplitText(NamedTuple):
    """A text and its chunks: at least one, which may be empty."""

    text: Text
    chunks: list[Chunk]


#: Encodes one window of a text encoder: its token ids ``(1, window)``, of which the first few are no
#: padding, and their weights, ``(1, window)``, or None. Returns the embeddings, ``(1, window, d)``, and what
#: the encoder pools, ``(1, p)``, or None.
EncodeWindow = Callable[[Any, Tensor, int, Tensor | None], tuple[Tensor, Tensor | None]]


def truncation_warnings(texts: Iterable[Text]) -> list[str]:
    """A sentence for each text of which the text encoder does not see the end."""
    warnings = []
    for text in {text.field: text for text in texts}.values():
        ids, window = text.ids, text.window
        if len(ids) > window:
            lost = text.tokenizer.decode(ids[window:])
            warnings.append(
                f"{text.field} has {len(ids)} tokens, the text encoder sees {window}; ignored: {lost!r}"
                " (long_prompt 'chunk' has all of it seen)"
            )
    return warnings


def split_in_windows(text: Text) -> SplitText:
    """A text in chunks of a window each, but for the last."""
    ids, window = text.ids, text.window
    starts = range(0, max(len(ids), 1), window)
    return SplitText(text, [Chunk(ids[start : start + window]) for start in starts])


def encode_in_chunks(
    positive: Sequence[SplitText],
    negative: Sequence[SplitText],
    encode: EncodeWindow,
    encode_negative: EncodeWindow,
) -> dict[str, Tensor]:
    """Arguments of diffusers' ``encode_prompt`` in place of texts: embeddings, ``(1, tokens, d)``.

    ``positive`` has one text for each text encoder, and so has ``negative``, or none.
    """
    count = max(len(text.chunks) for text in (*positive, *negative))
    embeddings, pooled = _joined(positive, count, encode)
    given = {"prompt_embeds": embeddings}
    if pooled is not None:
        given["pooled_prompt_embeds"] = pooled
    if negative:
        embeddings, pooled = _joined(negative, count, encode_negative)
        given["negative_prompt_embeds"] = embeddings
        if pooled is not None:
            given["negative_pooled_prompt_embeds"] = pooled
    return given


def _joined(texts: Sequence[SplitText], count: int, encode: EncodeWindow) -> tuple[Tensor, Tensor | None]:
    """Embeddings of all encoders, ``(1, count * window, d)``, and what the last one pools, ``(1, p)``."""
    joined, pooled = [], None
    for text, chunks in texts:
        filled_up = chunks + [Chunk([])] * (count - len(chunks))
        encoded = [_encode_chunk(text, chunk, encode) for chunk in filled_up]
        joined.append(torch.cat([hidden for hidden, _ in encoded], dim=1))
        pooled = encoded[0][1]
    return torch.cat(joined, dim=-1), pooled


def _encode_chunk(text: Text, chunk: Chunk, encode: EncodeWindow) -> tuple[Tensor, Tensor | None]:
    """One window, ``(1, window, d)``. Begin, end and padding count as 1."""
    tokenizer, device = text.tokenizer, text.encoder.device
    window = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id]
    padding = tokenizer.model_max_length - len(window)
    ids = torch.tensor([window + [tokenizer.pad_token_id] * padding], device=device)
    weights = None
    if chunk.weights is not None:
        weights = torch.tensor([[1.0, *chunk.weights, 1.0] + [1.0] * padding], device=device)
    return encode(text.encoder, ids, len(window), weights)
