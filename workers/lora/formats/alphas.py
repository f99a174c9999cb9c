"""The scaling of each module of a LoRA: its alpha, from wherever a file has it, divided by its rank."""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shared.errors import InvalidLora
from shared.families.registry import lora_parts
from shared.storage.lora_header import refuse_keys

_METADATA = "lora_adapter_metadata"
#: The configuration of an adapter that names every module of SDXL has about 100 kB.
MAX_METADATA_BYTES = 1 << 20
MAX_PATTERNS = 10_000
#: Trainers write up to some hundreds; beyond this a half-precision weight overflows.
MAX_SCALING = 65_504.0
_ESCAPED = re.compile(r"\\([.-])")
#: A module's name, or the end of one. PEFT takes any regular expression, which may run for hours.
_END = re.compile(r"[\w.-]+")
#: The key of a product's first factor by PEFT's name.
_PEFT = re.compile(r"\.lora_A\.(\w+\.)?weight$")


@dataclass(frozen=True)
class AdapterConfig:
    """PEFT's configuration of one part of a model, as far as it decides the scaling of modules."""

    alpha: Any = None  # None: the rank
    rank_stabilised: bool = False
    whole: Mapping[str, tuple[int, Any]] | None = None  # position and alpha, by a module's whole name
    ends: Mapping[str, tuple[int, Any]] | None = None  # the same by the end of a name

    def scaling(self, name: str, rank: int, stored: Tensor | None) -> float:
        """alpha / r, or PEFT's rank-stabilised alpha / sqrt(r), of the module ``name``.

        The alpha is the one ``stored`` beside the module, as kohya does, else the configuration's, else the
        rank. Raises `InvalidLora`, that says ``name``, for one that is no number or turns weights into noise.
        """
        if stored is not None:
            alpha = stored.item() if stored.numel() == 1 else None
        else:
            alpha = self._alpha_of(name)
            alpha = rank if alpha is None else alpha
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(_float(alpha)):
            raise InvalidLora(f"the alpha of {name} is no finite number")
        scaling = alpha / (math.sqrt(rank) if self.rank_stabilised else rank)
        if abs(scaling) > MAX_SCALING:
            raise InvalidLora(f"the alpha of {name} is {alpha:g} at rank {rank}: not plausible")
        return scaling

    def _alpha_of(self, name: str) -> Any:
        """PEFT takes the first pattern that is the end of a module's name."""
        name = name.removeprefix("text_model.")
        steps = name.split(".")
        found = [(self.whole or {}).get(name)]
        found += [(self.ends or {}).get(".".join(steps[i:])) for i in range(len(steps))]
        first = min((one for one in found if one is not None), key=lambda one: one[0], default=None)
        return self.alpha if first is None else first[1]


def peft_configs(header: Mapping[str, str]) -> Mapping[str, AdapterConfig]:
    """Of each part, from ``{"unet.r": 4, ...}`` or, for one part, ``{"r": 4, ...}``; raises `InvalidLora`."""
    text = header.get(_METADATA) or "{}"
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidLora(
            f"the header's {_METADATA} has {len(text)} characters, the limit is {MAX_METADATA_BYTES}"
        )
    try:
        flat = json.loads(text)
    except (ValueError, RecursionError):
        flat = None
    if not isinstance(flat, dict):
        raise InvalidLora(f"the header's {_METADATA} is no JSON object")
    common = {option: value for option, value in flat.items() if "." not in option}
    options: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        part, dot, option = key.partition(".")
        if dot and part in lora_parts():
            options.setdefault(part, dict(common))[option] = value
    default = _read_config(common)
    return defaultdict(lambda: default, {part: _read_config(chosen) for part, chosen in options.items()})


def refuse_some_alphas(
    modules: Iterable[tuple[str, Mapping[str, str]]],
    tensors: Mapping[str, Tensor],
    configs: Mapping[str, AdapterConfig],
) -> None:
    """Refuse a part of which some modules have an alpha beside them and others do not, by PEFT's names.

    diffusers gives the others the most common alpha, other programs their rank: they are refused where these
    differ and no configuration says it. ``modules``: their parts and the keys of their tensors, by role.
    """
    stored: dict[str, dict[str, float]] = defaultdict(dict)
    lacking: dict[str, set[str]] = defaultdict(set)
    for part, keys in modules:
        if _PEFT.search(keys.get("a", "")) is None or configs[part].alpha is not None:
            continue
        if "alpha" not in keys:
            lacking[part].add(keys["a"])
        elif tensors[keys["alpha"]].numel() == 1:  # others are refused where they count
            stored[part][keys["alpha"]] = tensors[keys["alpha"]].item()
    unclear: set[str] = set()
    for part, alphas in stored.items():
        [(common, _)] = Counter(alphas.values()).most_common(1)
        unclear |= {key for key in lacking[part] if tensors[key].shape[0] != common}
    refuse_keys("have no alpha, which others of the file have", unclear)


def _read_config(options: Mapping[str, Any]) -> AdapterConfig:
    patterns = options.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise InvalidLora("alpha_pattern is no JSON object")
    if len(patterns) > MAX_PATTERNS:
        raise InvalidLora(f"alpha_pattern has {len(patterns)} entries, the limit is {MAX_PATTERNS}")
    rank_stabilised = options.get("use_rslora") or False
    if not isinstance(rank_stabilised, bool):
        raise InvalidLora("use_rslora is neither true nor false")
    whole: dict[str, tuple[int, Any]] = {}
    ends: dict[str, tuple[int, Any]] = {}
    for position, (pattern, alpha) in enumerate(patterns.items()):
        end = _ESCAPED.sub(r"\1", pattern).removeprefix("^").removesuffix("$").removeprefix("text_model.")
        if not _END.fullmatch(end):
            raise InvalidLora(f"alpha_pattern: {pattern!a:.200} is no module name")
        (whole if pattern.startswith("^") else ends).setdefault(end, (position, alpha))
    return AdapterConfig(options.get("lora_alpha"), rank_stabilised, whole, ends)


def _float(number: float) -> float:
    """Integers of JSON may have thousands of digits."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
