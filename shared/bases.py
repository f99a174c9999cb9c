"""What a base model's own folder tells the web, which never loads it."""

import json
from collections.abc import Mapping
from pathlib import Path

from shared.catalogue import HUB, Catalogue, locate


def cross_attention_dims(catalogue: Catalogue, path: Path) -> Mapping[str, int]:
    """The width of each model's cross-attention, where its source is a diffusers folder that tells one.

    A single file or a hub id tells nothing here: the worker that loads it does.
    """
    found = {}
    for name, entry in catalogue.models.items():
        if not entry.source.startswith(HUB):
            width = _read_width(locate(path, entry.source) / "unet" / "config.json")
            if width is not None:
                found[name] = width
    return found


def _read_width(config: Path) -> int | None:
    try:
        width = json.loads(config.read_text()).get("cross_attention_dim")
    except (OSError, ValueError, AttributeError):
        return None  # the worker refuses a folder that is no model, and says why
    return width if isinstance(width, int) else None
