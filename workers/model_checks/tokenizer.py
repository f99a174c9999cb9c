"""Checks a tokenizer's files against the text encoder that it belongs to.

A tokenizer without its files loads without an error, and then maps every prompt to the same few tokens.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workers.model_checks.weight_files import Unloadable, read_json

#: Most rows of an embedding that may belong to no token: some are padded to a multiple of 64 or 128, and
#: those of more than `_LARGE` to one of 512.
_PADDING, _LARGE_PADDING = 127, 511
_LARGE = 1 << 16
_END_OF_WORD = "</w>"

#: Pairs of tokens that become one.
Merges = Iterable[tuple[str, ...]]


def check_tokenizer(folder: Path, part: str, encoder: Mapping[str, Any]) -> None:
    """Check the tokenizer in ``folder/part`` against its text encoder's config; raises `Unloadable`."""
    if not (folder / part).is_dir():
        raise Unloadable(f"it has no folder {part}")
    added: dict[str, int] = {}
    merges: Merges | None
    if (folder / part / "tokenizer.json").is_file():
        whole = read_json(folder, f"{part}/tokenizer.json")
        vocabulary, merges, added = parse_tokenizer_json(part, whole)
    elif (folder / part / "spiece.model").is_file():
        return  # what it holds is checked when it is loaded
    else:
        vocabulary = read_json(folder, f"{part}/vocab.json")
        merges = _read_merges(folder, f"{part}/merges.txt")
        if (folder / part / "added_tokens.json").is_file():
            added = read_json(folder, f"{part}/added_tokens.json")
    check_vocabulary(part, vocabulary, merges, added, encoder)


def parse_tokenizer_json(
    part: str, whole: Mapping[str, Any]
) -> tuple[dict[str, int], Merges | None, dict[str, int]]:
    """Vocabulary, merges and added tokens of a ``tokenizer.json``; raises `Unloadable`.

    T5's has no merges, but a list of tokens and their scores.
    """
    model = whole.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise Unloadable(f"{part}: tokenizer.json has no vocabulary")
    try:
        added = {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
        if isinstance(model["vocab"], list):
            return {token: index for index, (token, _) in enumerate(model["vocab"])}, None, added
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model.get("merges", [])]
    except (KeyError, TypeError, ValueError):
        raise Unloadable(f"{part}: tokenizer.json is malformed") from None
    return model["vocab"], merges, added


def check_vocabulary(
    part: str,
    vocabulary: Mapping[str, int],
    merges: Merges | None,
    added: Mapping[str, int],
    encoder: Mapping[str, Any],
) -> None:
    """Raise `Unloadable` unless the text encoder has a row for every token, and merges produce every token.

    ``encoder`` is the text encoder's config. A token of several characters is produced by merging two others,
    unless there are no ``merges``.
    """
    numbers, rows = [*vocabulary.values(), *added.values()], _rows(encoder)
    if not all(type(number) is int for number in numbers):
        raise Unloadable(f"{part} has tokens whose ids are not integers")
    ids = set(numbers)
    if not isinstance(rows, int):
        raise Unloadable(f"the text encoder of {part} has no vocab_size in its config")
    padding = _LARGE_PADDING if rows > _LARGE else _PADDING
    if ids != set(range(len(ids))) or not rows - padding <= len(ids) <= rows:
        raise Unloadable(f"{part} has {len(ids)} tokens, its text encoder's vocabulary {rows}")
    if merges is None:
        return
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


def _rows(encoder: Mapping[str, Any]) -> Any:
    """Of a model that also sees, its text part has them."""
    text = encoder.get("text_config")
    return encoder.get("vocab_size", text.get("vocab_size") if isinstance(text, Mapping) else None)


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
