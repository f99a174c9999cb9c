"""LoRAs on their way into a worker's memory, beside the denoising loop."""

from collections.abc import Callable
from typing import Literal

from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.kernel import Event, Process, Simulation
from infra.bench.simulate.measurements import Measurements

Tier = Literal["memory", "disk", "s3"]
#: Spreads sizes evenly over ranks, the same in every run: the golden ratio's fractional multiples.
GOLDEN = 0.6180339887498949


def lora_bytes(rank: int, sizes: tuple[float, float]) -> float:
    """How large the LoRA of that popularity is."""
    least, most = sizes
    return least + (most - least) * (rank * GOLDEN % 1.0)


class LoraLoads:
    """Loads LoRAs into workers, and counts where they were found."""

    def __init__(self, simulation: Simulation, measured: Measurements) -> None:
        self.late_steps: list[int] = []  # of each LoRA of a job, the first step with it
        self.found: dict[Tier, int] = {"memory": 0, "disk": 0, "s3": 0}
        self._simulation, self._measured = simulation, measured

    def size_bytes(self, lora: int) -> float:
        """How large a LoRA is."""
        return lora_bytes(lora, self._measured.lora_bytes)

    def load(self, worker: Worker, model: int, lora: int, on_load: Callable[[Worker], None]) -> Event:
        """Begin a load; the event: the LoRA can be patched. ``on_load``: it is in the worker's memory."""
        done = Event()
        self._simulation.start(self._load(worker, (model, lora), done, on_load))
        return done

    def _load(
        self, worker: Worker, key: tuple[int, int], done: Event, on_load: Callable[[Worker], None]
    ) -> Process:
        size_bytes = self.size_bytes(key[1])
        if key in worker.loras:
            worker.loras.touch(key)
            self.found["memory"] += 1
        else:
            if key[1] in worker.host.disk:
                worker.host.disk.touch(key[1])
                self.found["disk"] += 1
            else:
                self.found["s3"] += 1
                yield worker.host.fetch(key[1], size_bytes)
            yield size_bytes / self._measured.lora_parse_bytes_per_s
            worker.loras.add(key, size_bytes)
            on_load(worker)
        yield self._measured.lora_prepare_s
        self._simulation.set(done)
