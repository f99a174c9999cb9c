"""Captions as token ids."""

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from infra.emoji.training.data.subjects import COLOUR_NAMES, NAMES, TEMPLATES, caption

TOKENS = 32


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """``texts`` as ids, ``(len(texts), 32)``."""
    tokens = tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True)
    return torch.tensor(tokens.input_ids)


class Captions:
    """Every caption's ids, and the empty one a caption is dropped for."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        texts = [
            caption(name, colour, template)
            for name in NAMES
            for colour in COLOUR_NAMES
            for template in range(len(TEMPLATES))
        ]
        shape = (len(NAMES), len(COLOUR_NAMES), len(TEMPLATES), TOKENS)
        self._ids = token_ids(tokenizer, texts).view(shape)
        self._blank = token_ids(tokenizer, [""])  # (1, 32)

    def sample(self, subjects: Tensor, colours: Tensor, *, drop: float) -> Tensor:
        """Ids ``(b, 32)`` in random templates, empty with probability ``drop`` (for guidance)."""
        count = len(subjects)
        templates = torch.randint(len(TEMPLATES), (count,))
        ids = self._ids[subjects, colours, templates]
        return torch.where(torch.rand(count, 1) < drop, self._blank, ids)
