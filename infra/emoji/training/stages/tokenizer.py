"""A small byte-pair vocabulary in CLIP's format, learnt from the captions and the names of all emoji."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from infra.emoji.training.data.captions import TOKENS
from infra.emoji.training.data.emoji_sets import descriptions
from infra.emoji.training.data.subjects import COLOUR_NAMES, NAMES, TEMPLATES, caption
from infra.emoji.training.models.folder import MODEL

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
VOCABULARY = 1600
#: CLIP's own way of cutting text into words (Radford et al. 2021).
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
#: Words people use in prompts; each becomes one token.
COMMON = (
    "the of with and in style emoji picture photo drawing sketch outline small big twemoji flat a an on at to"
    " draw image icon cute high quality best blurry bad low simple colorful dark light bright"
)
COMMON_WEIGHT = 50


def train(out: Path, data: Path) -> CLIPTokenizer:
    """Write the tokenizer and load it again as everyone else will."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(_texts(data), alphabet)
    folder = out / MODEL / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary(alphabet, merges), ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(_config(), indent=1))
    return CLIPTokenizer.from_pretrained(folder)


def _texts(data: Path) -> list[str]:
    captions = [
        caption(name, colour, template)
        for name in NAMES
        for colour in COLOUR_NAMES
        for template in range(len(TEMPLATES))
    ]
    return captions + descriptions(data) + [COMMON] * COMMON_WEIGHT


def _merges(texts: list[str], alphabet: list[str]) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix=WORD_END,
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pairs = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(str(left), str(right)) for left, right in pairs]


def _vocabulary(alphabet: list[str], merges: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's order: bytes, bytes that end a word, merges, the two special tokens."""
    endings = [letter + WORD_END for letter in alphabet]
    merged = [left + right for left, right in merges]
    tokens = dict.fromkeys([*alphabet, *endings, *merged, START, END])
    return {token: number for number, token in enumerate(tokens)}


def _config() -> dict[str, Any]:
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
