"""What decides a model's pixels beside its weights: configs of its parts, and tokenizers."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: What a call of a tokenizer leaves to the tokenizer itself, beside the rules of its backend.
_TOKENIZER_DEFAULTS = (
    "model_max_length",
    "special_tokens_map",
    "model_input_names",
    "padding_side",
    "truncation_side",
    "chat_template",
)


#: Of transformers' configs: how weights were loaded, which their own hash knows, and by which version.
_OF_THE_LOAD = frozenset({"dtype", "torch_dtype", "transformers_version"})


def text_encoders_sha256(
    weights: str, encoders: Mapping[str, tuple[Any, Any]], facts: Mapping[str, Any]
) -> str:
    """The hash of all that decides embeddings: ``weights``, their hash, each encoder's config and tokenizer,
    by part, and ``facts`` that a family knows of."""
    described = [
        [part, _without_load(json.loads(encoder.config.to_json_string())), _describe_tokenizer(tokenizer)]
        for part, (encoder, tokenizer) in sorted(encoders.items())
    ]
    return _json_sha256([weights, described, dict(facts)])


def configs_sha256(texts: str, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The hash of ``texts``, a hash of `text_encoders_sha256`, and the ``configs`` of the other parts."""
    described = {
        part: {name: value for name, value in config.items() if not name.startswith("_")}  # paths, versions
        for part, config in configs.items()
    }
    return _json_sha256([texts, described])


def _without_load(config: Any) -> Any:
    """A config of an encoder, and of its parts, but for what a load writes into it."""
    if not isinstance(config, dict):
        return config
    return {name: _without_load(value) for name, value in config.items() if name not in _OF_THE_LOAD}


def _describe_tokenizer(tokenizer: Any) -> list[Any]:
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["padding"] = rules["truncation"] = None  # those of its last call: each call sets its own
    return [rules, {name: getattr(tokenizer, name, None) for name in _TOKENIZER_DEFAULTS}]


def _json_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
