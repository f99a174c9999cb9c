"""Other names of schedulers: those of diffusers' classes, A1111, ComfyUI, k-diffusion and InvokeAI.

``Euler a``, ``euler_ancestral``, ``k_euler_a`` and ``EulerAncestralDiscreteScheduler`` are ``euler_a`` here.
An alias means exactly the same scheduler: a class name stands for the class with the model's own config.
"""

import re

from shared.catalog.schedulers import SCHEDULERS


def canonical_name(name: str) -> str:
    """The key in `SCHEDULERS` that ``name`` stands for; ``name`` itself if it is unknown."""
    return name if name in SCHEDULERS else _BY_KEY.get(_key(name), name)


def _key(name: str) -> str:
    """A name without case, separators and synonyms, for comparison."""
    text = name.lower().replace("++", "pp").replace("ancestral", "a").removeprefix("sample_")
    return re.sub(r"[^a-z0-9]", "", text).removesuffix("scheduler")


def _names_by_key() -> dict[str, str]:
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


_BY_KEY = _names_by_key()
