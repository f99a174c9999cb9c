"""Schedulers by the names of diffusers' classes, A1111, ComfyUI, k-diffusion and InvokeAI.

``Euler a``, ``euler_ancestral``, ``k_euler_a`` and ``EulerAncestralDiscreteScheduler`` are ``euler_a`` here.
Only what is the same is taken: a class stands for itself on the model's own config.
"""

import re

from shared.catalog.schedulers import SCHEDULERS


def own_name(name: str) -> str:
    """The name of the scheduler that ``name`` means; ``name`` itself if it means none."""
    return name if name in SCHEDULERS else _BY_KEY.get(_key(name), name)


def _key(name: str) -> str:
    """What is left of a name without case, separators and synonyms."""
    text = name.lower().replace("++", "pp").replace("ancestral", "a").removeprefix("sample_")
    return re.sub(r"[^a-z0-9]", "", text).removesuffix("scheduler")


def _keys() -> dict[str, str]:
    keys = {}
    for name, kind in SCHEDULERS.items():
        plain, _, schedule = name.rpartition("_")
        keys[_key(name)] = name
        keys[f"k{_key(name)}"] = name  # as k-diffusion's samplers were called
        if schedule == "karras":
            keys[f"{_key(plain)}k"] = name  # InvokeAI
        if not kind.options:
            keys[_key(kind.name)] = name
    return keys


_BY_KEY = _keys()
