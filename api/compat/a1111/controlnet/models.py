"""ControlNets as sd-webui-controlnet lists its models, and the types of control that both are grouped by.

Source: Mikubill/sd-webui-controlnet, ``scripts/global_state.py`` (``select_control_type``).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from api.compat.a1111.controlnet.modules import label_of
from api.compat.a1111.generation.union_types import find_type
from api.compat.a1111.models import without_hash
from api.services import Services
from shared.catalog.entries import Catalog
from shared.catalog.preprocessors import NONE, PREPROCESSORS

#: "No model", the first of every list of a type.
NO_MODEL = "None"
_HASH_CHARS = 8


class ControlType(NamedTuple):
    """A type of control: preprocessors, and what names of its ControlNets have in them."""

    preprocessors: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


CONTROL_TYPES: Mapping[str, ControlType] = {
    "Canny": ControlType(("canny", "invert"), ("canny",)),
    "Depth": ControlType((), ("depth",)),
    "InstructP2P": ControlType((), ("instructp2p", "ip2p")),
    "Lineart": ControlType(("lineart_standard", "invert"), ("lineart",)),
    "MLSD": ControlType(("invert",), ("mlsd",)),
    "NormalMap": ControlType((), ("normal",)),
    "OpenPose": ControlType((), ("openpose", "densepose")),
    "Scribble": ControlType(("scribble_xdog", "invert"), ("scribble", "sketch")),
    "Segmentation": ControlType((), ("seg",)),
    "Shuffle": ControlType((), ("shuffle",)),
    "SoftEdge": ControlType((), ("softedge",)),
    "Tile": ControlType(("tile_resample", "blur_gaussian"), ("tile", "blur")),
}


def model_names(catalog: Catalog) -> list[str]:
    """``name [hash]`` of every ControlNet.

    The hash tells entries of a catalog apart: it is of the name and the source. Hashes of weights are known
    to workers alone.
    """
    return [
        f"{name} [{hashlib.sha256(f'{name}={entry.source}'.encode()).hexdigest()[:_HASH_CHARS]}]"
        for name, entry in catalog.controlnets.items()
    ]


def control_types(services: Services) -> dict[str, Any]:
    """Preprocessors, by their labels, and ControlNets of each type, with what is chosen first."""
    models = model_names(services.catalog)
    every = {"All": _described(list(PREPROCESSORS), models, default=NONE)}
    return every | {
        name: _described(
            [NONE, *kind.preprocessors],
            [model for model in models if _is_of(model, name, services)],
            default=next(iter(kind.preprocessors), NONE),
        )
        for name, kind in CONTROL_TYPES.items()
    }


def _is_of(model: str, control_type: str, services: Services) -> bool:
    """Whether the name of a ControlNet says that it is of a type, or it is a union that has this kind."""
    if any(word in model.lower() for word in CONTROL_TYPES[control_type].words):
        return True
    traits = services.families.controlnet(without_hash(model))
    return traits is not None and find_type(control_type, traits) is not None


def _described(preprocessors: list[str], models: list[str], *, default: str) -> dict[str, Any]:
    is_all = default == NONE and len(preprocessors) > 1
    return {
        "module_list": [label_of(name) for name in preprocessors],
        "model_list": [NO_MODEL, *models],
        "default_option": label_of(default),
        "default_model": models[0] if models and not is_all else NO_MODEL,
    }
