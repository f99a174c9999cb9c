"""Which model of the catalog a checkpoint's name means."""

import re

from shared.catalog.entries import Catalog
from shared.errors import NotFound

#: What A1111 adds to a name: the end of a file's name, and a hash.
_HASH = re.compile(r"\s*\[[0-9a-fA-F]*\]$")
_SUFFIXES = (".safetensors", ".ckpt")


def without_hash(name: str) -> str:
    """A checkpoint's or ControlNet's name, of which A1111 shows ``name [hash]``."""
    return _HASH.sub("", name.strip())


def find_model(name: str, catalog: Catalog) -> str:
    """The model that a client names, or the default one; raises `NotFound`, naming those that are known."""
    plain = without_hash(name)
    for suffix in ("", *_SUFFIXES):
        model = plain.removesuffix(suffix)
        if model in catalog.models:
            return model
    if not plain:
        return catalog.default_model
    known = ", ".join(catalog.models)
    raise NotFound(f"there is no model {plain[:100]!r}; known are {known}")
