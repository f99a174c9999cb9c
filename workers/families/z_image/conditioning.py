"""Z-Image's prompts: captions of an LLM with a chat template, each of its own length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from workers.families.guidance import CFGBranch


@dataclass(frozen=True)
class ZImageConditioning:
    """See `Conditioning`; of a guided batch the conditional rows come first."""

    captions: Sequence[Tensor]  # (tokens, d) for each row

    @cached_property
    def controlnet_inputs(self) -> Mapping[str, Tensor]:
        """``captions``, ``(b, longest, d)``, padded with zeros, and ``lengths``, ``(b,)``, as floats."""
        device = self.captions[0].device
        lengths = torch.tensor(
            [len(caption) for caption in self.captions], dtype=torch.float32, device=device
        )
        return {"captions": pad_sequence(list(self.captions), batch_first=True), "lengths": lengths}

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See `Conditioning`."""
        return {"captions": self.controlnet_inputs["captions"]}

    def branch(self, branch: CFGBranch) -> "ZImageConditioning":
        """See `Conditioning`."""
        return self._branches[branch]

    @cached_property
    def _branches(self) -> dict[CFGBranch, "ZImageConditioning"]:
        half = len(self.captions) // 2
        cond, uncond = ZImageConditioning(self.captions[:half]), ZImageConditioning(self.captions[half:])
        return {CFGBranch.BOTH: self, CFGBranch.COND: cond, CFGBranch.UNCOND: uncond}


def encode_caption(tokenizer: Any, text_encoder: Any, text: str, max_tokens: int) -> Tensor:
    """What the text encoder makes of a prompt, ``(1, tokens, d)``, cut to ``max_tokens``."""
    inputs = tokenizer(
        [as_chat(tokenizer, text)],
        padding="max_length",
        max_length=max_tokens,
        truncation=True,
        return_tensors="pt",
    )
    device = text_encoder.device
    ids, mask = inputs.input_ids.to(device), inputs.attention_mask.to(device).bool()
    hidden = text_encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
    return torch.as_tensor(hidden[0][mask[0]]).unsqueeze(0)


def as_chat(tokenizer: Any, text: str) -> str:
    """The prompt as a user's message to the LLM, which is to answer next."""
    return str(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
    )
