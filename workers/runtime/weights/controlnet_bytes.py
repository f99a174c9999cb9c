"""What a ControlNet of the catalog will take once it is loaded, with the layers of its base model."""

import json
from pathlib import Path

from shared.catalog.entries import Catalog, ControlNetEntry
from shared.catalog.model_families import ModelFamilies
from shared.errors import CatalogGone
from shared.families.base import Config, FamilyFacts
from shared.families.registry import family_of_controlnet
from workers.runtime.weights.download import download_controlnet, download_layers, naming_failures
from workers.runtime.weights.source import estimate_bytes, estimate_layer_bytes, find_source, local_path


class ControlNetBytes:
    """Estimates by the files of one catalog; 0 for what cannot be seen from here.

    All methods raise `CatalogGone` for a ControlNet that the catalog does not have.
    """

    def __init__(self, path: Path, catalog: Catalog) -> None:
        """``path`` is the catalog's."""
        self._path, self._catalog = path, catalog
        self._families = ModelFamilies(path, catalog)

    def estimate(self, name: str) -> int:
        """Bytes of the ControlNet's weights, and of those it is given from its first base model.

        0 unless both are here.
        """
        entry = self._entry(name)
        dtype = entry.dtype or self._catalog.models[entry.models[0]].dtype
        facts, layers = self._layers_of_base(name)
        given = 0
        if facts is not None and layers:
            given = estimate_layer_bytes(self._base(entry), dtype, facts.denoiser, layers)
            if not given:
                return 0
        own = estimate_bytes(find_source(self._path, entry.source), dtype)
        return own and own + given

    def download(self, name: str) -> None:
        """Bring the files here that `estimate` reads, if they are of hub ids; raises `ModelFailed`."""
        entry = self._entry(name)
        with naming_failures(f"ControlNet {name!r} ({entry.source})"):
            download_controlnet(find_source(self._path, entry.source), entry.variant)
            facts, layers = self._layers_of_base(name)
            if facts is not None and layers:
                download_layers(self._base(entry), facts.denoiser, layers)

    def _entry(self, name: str) -> ControlNetEntry:
        entry = self._catalog.controlnets.get(name)
        if entry is None:
            raise CatalogGone("controlnet", name)
        return entry

    def _base(self, entry: ControlNetEntry) -> str:
        return find_source(self._path, self._catalog.models[entry.models[0]].source)

    def _layers_of_base(self, name: str) -> tuple[FamilyFacts | None, tuple[str, ...]]:
        config = self._config(name)
        facts = None if config is None else family_of_controlnet(config)
        return facts, (() if config is None or facts is None else facts.layers_of_base(config))

    def _config(self, name: str) -> Config | None:
        """Also that of a hub id, once it is in the hub's cache."""
        config = self._families.controlnet_config(name)
        if config is not None:
            return config
        folder = local_path(find_source(self._path, self._entry(name).source))
        try:
            read = None if folder is None else json.loads((folder / "config.json").read_bytes())
        except (OSError, ValueError):
            return None  # the load will say what is wrong with it
        return read if isinstance(read, dict) else None
