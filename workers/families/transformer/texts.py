"""What models with several text encoders share: the hash of the encoders, and texts that are cut off."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class TokenWindow(NamedTuple):
    """A text of a job, and how many tokens of it a text encoder sees."""

    field: str  # of the job
    text: str
    tokenizer: Any
    tokens: int  # with those that begin and end it
    closing: int = 1  # those of ``tokens`` that also end a text that is cut


def truncation_warnings(windows: Iterable[TokenWindow]) -> list[str]:
    """A sentence for each text of which a text encoder does not see the end."""
    warnings: dict[str, None] = {}
    for field, text, tokenizer, tokens, closing in windows:
        ids = tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > tokens:
            lost = tokenizer.decode(ids[tokens - closing :], skip_special_tokens=True)
            sentence = f"{field} has {len(ids)} tokens, the text encoder sees {tokens}; ignored: {lost!r}"
            warnings[sentence] = None
    return list(warnings)


def text_encoders_sha256(weights: str, encoders: Mapping[str, tuple[Any, Any]]) -> str:
    """The hash of all that decides embeddings: ``weights``, their hash, and each encoder's config and
    tokenizer, by part."""
    described: list[Any] = [weights]
    for part, (encoder, tokenizer) in sorted(encoders.items()):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules["padding"] = rules["truncation"] = None  # those of its last call: each call sets its own
        config = encoder.config.to_json_string()
        described.append([part, config, rules, tokenizer.model_max_length, tokenizer.special_tokens_map])
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
