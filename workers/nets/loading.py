"""The nets of the catalogue, loaded on demand: by the workers that serve them, and where none does."""

from shared.catalogue import Catalogue
from shared.settings import Settings
from workers.nets.net import Net, load_net
from workers.resident import Memory, Residents
from workers.weights import find_source, foretell_bytes


def nets_of(catalogue: Catalogue, settings: Settings, memory: Memory) -> Residents[Net]:
    """Every net of the catalogue, within ``memory``."""

    def source(name: str) -> tuple[str, str]:
        entry = catalogue.controlnets[name]
        dtype = entry.dtype or catalogue.models[entry.model].dtype
        return find_source(settings.catalog, entry.source), dtype

    def load(name: str) -> Net:
        return load_net(name, *source(name), settings.device)

    return Residents(load, memory, lambda name: foretell_bytes(*source(name)))
