"""Models of a catalog that are loaded without their text encoders."""

from pathlib import Path

from shared.catalog.entries import ModelEntry
from workers.families.base import BaseModel
from workers.families.load_base_model import load_entry, load_entry_text_encoder
from workers.families.text_encoder_weights import TextEncoderWeights
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.embeddings.text_encoders import TextEncoders


class Apart:
    """A catalog's models without their text encoders, which are loaded apart."""

    def __init__(self, catalog: Path, entries: dict[str, ModelEntry], capacity_bytes: int = 1 << 40) -> None:
        self.loads: list[str] = []
        self.memory = DeviceMemory(capacity_bytes)
        self.entries, self.catalog = entries, catalog
        self.models: ModelCache[BaseModel] = ModelCache(self._load_model, self.memory)
        self.text_encoders = TextEncoders(self.memory, self._load_text_encoder)

    def _load_model(self, name: str) -> BaseModel:
        return load_entry(name, self.entries[name], self.catalog, "cpu", without_text_encoders=True)

    def _load_text_encoder(self, name: str, part: str) -> TextEncoderWeights:
        self.loads.append(f"{part} of {name}")
        return load_entry_text_encoder(name, part, self.entries[name], self.catalog, "cpu")

    def text_encoders_loaded(self) -> list[str]:
        """The hashes of those in memory."""
        items = self.memory.models.items()
        return [sha256 for (owner, sha256), _ in items if owner is self.text_encoders]
