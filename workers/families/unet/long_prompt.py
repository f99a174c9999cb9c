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

    @property
    def chunks(self) -> list[list[int]]:
        """Its tokens, a window at a time; at least one, which may be empty."""
        ids = self.ids
        return [ids[start : start + self.window] for start in range(0, max(len(ids), 1), self.window)]


#: Encodes one window of a text encoder: its token ids ``(1, window)``, of which the first few are no
#: padding. Returns the embeddings, ``(1, window, d)``, and what the encoder pools, ``(1, p)``, or None.
EncodeWindow = Callable[[Any, Tensor, int], tuple[Tensor, Tensor | None]]


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


def encode_in_chunks(
    positive: Sequence[Text],
    negative: Sequence[Text],
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


def _joined(texts: Sequence[Text], count: int, encode: EncodeWindow) -> tuple[Tensor, Tensor | None]:
    """Embeddings of all encoders, ``(1, count * window, d)``, and what the last one pools, ``(1, p)``."""
    joined, pooled = [], None
    for text in texts:
        chunks = text.chunks
        chunks += [[]] * (count - len(chunks))
        encoded = [_encode_chunk(text, chunk, encode) for chunk in chunks]
        joined.append(torch.cat([hidden for hidden, _ in encoded], dim=1))
        pooled = encoded[0][1]
    return torch.cat(joined, dim=-1), pooled


def _encode_chunk(text: Text, chunk: list[int], encode: EncodeWindow) -> tuple[Tensor, Tensor | None]:
    """One window, ``(1, window, d)``."""
    tokenizer = text.tokenizer
    window = [tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id]
    filled = window + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(window))
    return encode(text.encoder, torch.tensor([filled], device=text.encoder.device), len(window))
