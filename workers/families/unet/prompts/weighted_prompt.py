"""Prompts with weights: how A1111 cuts them into chunks of tokens, and how weights reach embeddings.

Each part of a prompt is tokenized by itself. ``BREAK`` ends a chunk, and so does a full window; then what
comes behind a comma that is near goes into the next chunk with what follows, so that it is not torn apart
(A1111's "prompt word wrap length limit", 20 tokens by default). Weights multiply what the text encoder gives
for their tokens. Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/sd_hijack_clip.py`` and
``modules/sd_emphasis.py``.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from shared.prompts.errors import errors_of
from shared.prompts.weights import WeightedText, parse_weights
from workers.families.unet.prompts.long_prompt import Chunk, SplitText, Text

#: How far from the end of a full window the comma may be, in tokens.
MAX_WRAPPED_TOKENS = 20

#: A token and its weight.
_Token = tuple[int, float]


def check_weighted(text: Text) -> None:
    """Raise `InvalidRequest` for a text that cannot be read."""
    with errors_of(text.field):
        parse_weights(text.text)


def split_weighted(text: Text) -> SplitText:
    """A text in chunks with weights; what `check_weighted` refuses raises `PromptSyntaxError`."""
    comma = _comma_of(text.tokenizer)
    chunks: list[list[_Token]] = []
    for section in parse_weights(text.text):
        chunks += _wrap(_tokens(section, text.tokenizer), text.window, comma)
    if len(chunks) > 1 and not chunks[-1]:  # nothing follows the last BREAK
        chunks.pop()
    return SplitText(text, [_as_chunk(chunk) for chunk in chunks])


def multiply(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Embeddings ``(b, tokens, d)``, each token's by its weight, ``(b, tokens)``; their type stays."""
    return (embeddings * weights.unsqueeze(-1)).to(embeddings.dtype)


def multiply_restoring_mean(embeddings: Tensor, weights: Tensor) -> Tensor:
    """As `multiply`, and scaled so that all embeddings together have the mean that they had before.

    A mean of zero, which trained text encoders do not give, cannot be restored.
    """
    before = embeddings.float()
    after = before * weights.unsqueeze(-1)
    ratio = before.mean() / after.mean()
    return (after * ratio.where(ratio.isfinite(), 1.0)).to(embeddings.dtype)


def _comma_of(tokenizer: Any) -> int | None:
    """The token that is a comma at the end of a word, if CLIP's vocabulary has it."""
    comma: int | None = tokenizer.convert_tokens_to_ids(",</w>")
    return None if comma == tokenizer.unk_token_id else comma


def _tokens(section: Iterable[WeightedText], tokenizer: Any) -> list[_Token]:
    tokens = []
    for text, weight in section:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        tokens += [(token, weight) for token in ids]
    return tokens


def _wrap(tokens: Iterable[_Token], window: int, comma: int | None) -> list[list[_Token]]:
    """Chunks of a window at most; at least one."""
    chunks: list[list[_Token]] = [[]]
    last_comma: int | None = None  # its index in the last chunk
    for token in tokens:
        chunk = chunks[-1]
        if token[0] == comma:
            last_comma = len(chunk)
        if len(chunk) == window:
            moved: list[_Token] = []
            if token[0] != comma and last_comma is not None and window - last_comma <= MAX_WRAPPED_TOKENS:
                moved = chunk[last_comma + 1 :]
                del chunk[last_comma + 1 :]
            chunks.append(moved)
            last_comma = None
        chunks[-1].append(token)
    return chunks


def _as_chunk(tokens: list[_Token]) -> Chunk:
    weights = [weight for _, weight in tokens]
    is_weighted = any(weight != 1.0 for weight in weights)
    return Chunk([token for token, _ in tokens], weights if is_weighted else None)
