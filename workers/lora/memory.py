"""A worker's parsed LoRAs, cached in memory."""

from shared.metrics import LORA_EVICTIONS
from workers.lora.lora_weights import LoraWeights
from workers.runtime.pinned_lru import PinnedLRU


class LoraMemory(PinnedLRU[str, LoraWeights]):
    """Parsed LoRAs by model and version, within ``capacity_bytes``; evictions are counted in the metrics."""

    def __init__(self, capacity_bytes: int) -> None:
        count = LORA_EVICTIONS.labels("memory").inc
        super().__init__(capacity_bytes, lambda weights: weights.nbytes, on_evict=count)
