"""Offline tokenizers at toy size: CLIP's of the embedded model, T5's and Qwen's made here in milliseconds."""

import json
import re
import string
from functools import cache
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

from infra.emoji_files import EMOJI

#: Words that are one token each; anything else is spelled in letters (T5) or bytes (Qwen).
WORDS = (
    "a an the on of and with in red green blue white black yellow big small old new photo picture drawing "
    "car apple cat fish house star heart rocket duck penguin tree sky night day background "
    "system user assistant"
)
#: What Qwen-Image's pipelines put before a prompt; with these words they are as many tokens as in Qwen's own.
_INSTRUCTION = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships "
    "of the objects and background:"
)
_SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<think>", "</think>"),
)
#: As Qwen3's: a generation prompt without thinking has an empty thought.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)


def clip_tokenizer() -> Any:
    """The embedded model's: prompts of up to 32 tokens."""
    return CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer")


def t5_tokenizer() -> Any:
    """A unigram model of whole words and single characters."""
    words = WORDS.split()
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(f"▁{word}", -3.0 - i / 100) for i, word in enumerate(words) if len(word) > 1]
    vocab += [(character, -8.0) for character in string.printable if not character.isspace()]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Any:
    """Byte-level BPE with Qwen's special tokens and a chat template."""
    vocab, merges = _trained_bpe()
    return Qwen2Tokenizer(
        vocab=dict(vocab),
        merges=list(merges),
        additional_special_tokens=list(_SPECIAL),
        chat_template=_CHAT_TEMPLATE,
        model_max_length=4096,
    )


@cache
def _trained_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, so many that every word is one token, with and without a space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = sorted({*WORDS.split(), *re.findall(r"\w+", _INSTRUCTION)})
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for word in words for text in (word, f" {word}")], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
