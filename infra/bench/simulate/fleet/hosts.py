"""A host: its disk cache of LoRAs, and its line to S3."""

from infra.bench.simulate.fleet.links import SharedLink
from infra.bench.simulate.fleet.memory import BoundedMemory
from infra.bench.simulate.kernel import Event, Process, Simulation


class Host:
    """A host's disk cache and its line to S3."""

    def __init__(self, name: str, simulation: Simulation, line: SharedLink, capacity_bytes: float) -> None:
        self.name = name
        self.disk: BoundedMemory[int] = BoundedMemory(capacity_bytes)
        self._simulation, self._line = simulation, line
        self._fetches: dict[int, Event] = {}

    def fetch(self, lora: int, size_bytes: float) -> Event:
        """Fetch a LoRA that is not on the disk; the event is its arrival. Each is fetched once at a time."""
        if lora not in self._fetches:
            self._fetches[lora] = Event()
            self._simulation.start(self._fetch(lora, size_bytes))
        return self._fetches[lora]

    def _fetch(self, lora: int, size_bytes: float) -> Process:
        yield self._line.transfer(size_bytes)
        self.disk.add(lora, size_bytes)
        self._simulation.set(self._fetches.pop(lora))
