"""What a ControlNet of the catalog will take once it is loaded, with the layers of its base model."""

from pathlib import Path

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.errors import CatalogGone
from shared.families.registry import family_of_controlnet
from workers.runtime.weights.source import estimate_bytes, estimate_layer_bytes, find_source


class ControlNetBytes:
    """Estimates by the files of one catalog; 0 for what cannot be seen from here."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        """``path`` is the catalog's."""
        self._path, self._catalog = path, catalog
        self._families = ModelFamilies(path, catalog)

    def estimate(self, name: str) -> int:
        """Bytes of the ControlNet's weights, and of those it is given from its first base model.

        Raises `CatalogGone`.
        """
        entry = self._catalog.controlnets.get(name)
        if entry is None:
            raise CatalogGone("controlnet", name)
        base = self._catalog.models[entry.models[0]]
        dtype = entry.dtype or base.dtype
        own = estimate_bytes(find_source(self._path, entry.source), dtype)
        config = self._families.controlnet_config(name)
        facts = None if config is None else family_of_controlnet(config)
        layers = () if config is None or facts is None else facts.layers_of_base(config)
        if facts is None or not layers:
            return own
        return own + estimate_layer_bytes(find_source(self._path, base.source), dtype, facts.denoiser, layers)
