"""How strongly a LoRA's products count: the alpha of each module, from wherever a file keeps it."""

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from shared.errors import InvalidLora

_METADATA = "lora_adapter_metadata"


def peft_config(header: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """PEFT's configuration of each part, from ``{"unet.r": 4, ...}`` or, for one part, ``{"r": 4, ...}``."""
    try:
        flat = json.loads(header.get(_METADATA) or "{}")
    except (ValueError, RecursionError):
        flat = None
    if not isinstance(flat, dict):
        raise InvalidLora(f"the header's {_METADATA} is no JSON object")
    common = {option: value for option, value in flat.items() if "." not in option}
    config: dict[str, dict[str, Any]] = defaultdict(lambda: dict(common))
    for key, value in flat.items():
        part, dot, option = key.partition(".")
        if dot:
            config[part][option] = value
    return config


def scaling_of(config: Mapping[str, Any], name: str, rank: int, stored: Tensor | None) -> float:
    """alpha / r, or PEFT's rank-stabilised alpha / sqrt(r), of the module ``name``.

    The alpha is the one ``stored`` beside the module, as kohya does, else the configuration's, else the rank.
    """
    if stored is None:
        alpha = _by_pattern(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", rank))
    else:
        alpha = stored.item() if stored.numel() == 1 else None
    if not isinstance(alpha, int | float) or not abs(alpha) <= sys.float_info.max:
        raise InvalidLora(f"the alpha of {name} is no finite number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Any, name: str, default: Any) -> Any:
    """PEFT takes the first pattern that is the end of a module's name."""
    if not isinstance(patterns, dict):
        raise InvalidLora("alpha_pattern is no JSON object")
    name = name.removeprefix("text_model.")
    for pattern, value in patterns.items():
        end = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".").removeprefix("text_model.")
        if not re.fullmatch(r"[\w.]+", end):
            # A stranger's regular expression can be made to run for hours.
            raise InvalidLora(f"alpha_pattern: {pattern!r} is no module name")
        if name == end or (name.endswith("." + end) and not pattern.startswith("^")):
            return value
    return default
