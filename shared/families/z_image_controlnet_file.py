"""What a single file says of a ControlNet of Z-Image: its authors publish weights alone, without a config.

Derived configs equal those of the authors' code (``config/z_image`` of aigc-apps/VideoX-Fun). diffusers takes
configs of others' repositories, by the same marks
(``diffusers.loaders.single_file_utils.infer_diffusers_model_type``), but for lite files: these are of version
2.1, and diffusers takes them for 1.0, whose config does not fit them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Layers of the base model: the authors spread the control layers evenly over them (6 in 1.0, 15 in 2.0 and
#: 2.1, 3 in lite ones).
_BASE_LAYERS = 30
_EMBEDDER, _CONTROL_LAYERS, _REFINERS = "control_all_x_embedder.", "control_layers.", "control_noise_refiner."
_HEAD_CHANNELS = 128  # of a model whose queries have no norm, which would tell

#: The weight by which refiners of 2.1 see the control image: 2.0 has none, or zeros.
BEFORE_PROJ = f"{_REFINERS}0.before_proj.weight"
#: Values of ``add_control_noise_refiner``, and how people call them.
VERSIONS = {None: "1.0", "control_layers": "2.0", "control_noise_refiner": "2.1"}


def controlnet_config(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    """The config of a `ZImageControlNetModel` by the names and shapes of its weights.

    But for ``add_control_noise_refiner``, which only their numbers tell. None: they do not tell it.
    """
    layers, refiners = _count(shapes, _CONTROL_LAYERS), _count(shapes, _REFINERS) or 2
    first = f"{_CONTROL_LAYERS}0.attention"
    norm, key = shapes.get(f"{first}.norm_q.weight"), shapes.get(f"{first}.to_k.weight")
    embedders = [name for name in shapes if name.startswith(_EMBEDDER) and name.endswith(".weight")]
    if embedders != [f"{_EMBEDDER}2-1.weight"] or not layers or _BASE_LAYERS % layers or not key:
        return None
    embedder = shapes[embedders[0]]
    head = _HEAD_CHANNELS if norm is None else math.prod(norm)
    if (len(embedder), len(key)) != (2, 2) or not head or embedder[0] % head or key[0] % head:
        return None
    return {
        "_class_name": "ZImageControlNetModel",
        "control_layers_places": list(range(0, _BASE_LAYERS, _BASE_LAYERS // layers)),
        "control_refiner_layers_places": list(range(refiners)),
        "control_in_dim": math.prod(embedder[1:]) // 4,
        "all_patch_size": [2],
        "all_f_patch_size": [1],
        "dim": embedder[0],
        "n_refiner_layers": refiners,
        "n_heads": embedder[0] // head,
        "n_kv_heads": key[0] // head,
        "qk_norm": norm is not None,
    }


def noise_refiner(names: Mapping[str, Any], *, before_proj_is_zero: bool) -> str | None:
    """``add_control_noise_refiner`` by the names of a file's weights, as diffusers finds it.

    ``before_proj_is_zero``: of the weight `BEFORE_PROJ`, if it is there.
    """
    if BEFORE_PROJ in names:
        return "control_layers" if before_proj_is_zero else "control_noise_refiner"
    has_layers_of_2 = _count(names, _CONTROL_LAYERS) == _BASE_LAYERS // 2
    return "control_layers" if has_layers_of_2 or not _count(names, _REFINERS) else None


def is_refiner(name: str) -> bool:
    """Whether a weight is one of the refiners, which 2.0 does not use though its files have them."""
    return name.startswith(_REFINERS)


def _count(names: Mapping[str, Any], begin: str) -> int:
    return len({name.removeprefix(begin).split(".")[0] for name in names if name.startswith(begin)})
