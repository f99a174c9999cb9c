"""Checks a tokenizer's files against the text encoder that it belongs to.

A CLIP tokenizer without its files loads without an error, and then maps every prompt to the same few tokens.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workers.model_checks.weight_files import Unloadable, read_json

#: Most rows of an embedding that may belong to no token: some are padded to a multiple of 64 or 128.
_PADDING = 127
_END_OF_WORD = "</w>"


def check_tokenizer(folder: Path, part: str, encoder: Mapping[str, Any]) -> None:
    """Check the tokenizer in ``folder/part`` against its text encoder's config; raises `Unloadable`."""
    if not (folder / part).is_dir():
        raise Unloadable(f"it has no folder {part}")
    added: dict[str, int] = {}
    if (folder / part / "tokenizer.json").is_file():
        whole = read_json(folder, f"{part}/tokenizer.json")
        vocabulary, merges, added = parse_tokenizer_json(part, whole)
    else:
        vocabulary = read_json(folder, f"{part}/vocab.json")
        merges = _read_merges(folder, f"{part}/merges.txt")
        if (folder / part / "added_tokens.json").is_file():
            added = read_json(folder, f"{part}/added_tokens.json")
    check_vocabulary(part, vocabulary, merges, added, encoder)


def parse_tokenizer_json(
    part: str, whole: Mapping[str, Any]
) -> tuple[dict[str, int], list[tuple[str, ...]], dict[str, int]]:
    """Vocabulary, merges and added tokens of a ``tokenizer.json``; raises `Unloadable`."""
    model = whole.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise Unloadable(f"{part}: tokenizer.json has no vocabulary")
    try:
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model.get("merges", [])]
        added = {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
    except (KeyError, TypeError):
        raise Unloadable(f"{part}: tokenizer.json is malformed") from None
    return model["vocab"], merges, added


def check_vocabulary(
    part: str,
    vocabulary: Mapping[str, int],
    merges: Iterable[tuple[str, ...]],
    added: Mapping[str, int],
    encoder: Mapping[str, Any],
) -> None:
    """Raise `Unloadable` unless the text encoder has a row for every token, and merges produce every token.

    ``encoder`` is the text encoder's config. A token of several characters is produced by merging two others.
    """
    numbers, rows = [*vocabulary.values(), *added.values()], encoder.get("vocab_size")
    if not all(type(number) is int for number in numbers):
        raise Unloadable(f"{part} has tokens whose ids are not integers")
    ids = set(numbers)
    if not isinstance(rows, int):
        raise Unloadable(f"the text encoder of {part} has no vocab_size in its config")
    if ids != set(range(len(ids))) or not rows - _PADDING <= len(ids) <= rows:
        raise Unloadable(f"{part} has {len(ids)} tokens, its text encoder's vocabulary {rows}")
    merged = {"".join(pair) for pair in merges}
    lost = [
        token
        for token in vocabulary
        if len(token.removesuffix(_END_OF_WORD)) > 1
        and token not in merged
        and token not in added
        and not _is_special(token)
    ]
    if lost:
        raise Unloadable(f"{part} has no merges for {len(lost)} of its tokens, such as {lost[0]!r}")


def _is_special(token: str) -> bool:
    return token.startswith("<|") and token.endswith("|>")


def _read_merges(folder: Path, name: str) -> list[tuple[str, ...]]:
    path = folder / name
    if not path.is_file():
        raise Unloadable(f"it has no {name}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise Unloadable(f"{name} is not UTF-8 text") from None
    return [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]


def check_backend(part: str, backend: str, encoder: Mapping[str, Any]) -> None:
    """Check a loaded tokenizer; ``backend`` is its JSON, in the form of ``tokenizer.json``."""
    check_vocabulary(part, *parse_tokenizer_json(part, json.loads(backend)), encoder)
