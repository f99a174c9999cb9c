"""Sizes of the catalog's models, and which of them are loaded without their text encoders."""

from shared.catalog.entries import Catalog
from shared.settings import Settings
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.weights.source import estimate_bytes, find_source


class ModelSizes:
    """See the module; the memory's capacity is known when the first model is loaded."""

    def __init__(self, settings: Settings, catalog: Catalog, memory: DeviceMemory) -> None:
        self._settings, self._catalog, self._memory = settings, catalog, memory

    def is_apart(self, name: str) -> bool:
        """Whether the setting says so, or the model does not fit with its text encoders."""
        if self._settings.text_encoders == "apart":
            return True
        return self._estimate_bytes(name) > self._memory.models.capacity_bytes

    def estimate_bytes(self, name: str) -> int:
        """Of what is loaded as the model; 0 where that cannot be seen from its files."""
        return self._estimate_bytes(name, without="text_encoder" if self.is_apart(name) else None)

    def apart_bytes(self, name: str) -> int:
        """Of the text encoders that a model is loaded without; 0 where that cannot be seen from its files."""
        return self._estimate_bytes(name) - self.estimate_bytes(name)

    def _estimate_bytes(self, name: str, without: str | None = None) -> int:
        entry = self._catalog.models[name]
        catalog = self._settings.catalog
        config = None if entry.config is None else find_source(catalog, entry.config)
        source = find_source(catalog, entry.source)
        return estimate_bytes(source, entry.dtype, config=config, without=without)
