"""A worker with its device: what it does, for how long, and what lies in its memory."""

from collections.abc import Sequence
from typing import Any, Literal

from infra.bench.simulate.fleet.hosts import Host
from infra.bench.simulate.fleet.memory import BoundedMemory
from infra.bench.simulate.kernel import Event, Simulation
from infra.bench.simulate.traffic import SimulatedJob

#: What a device does; `wait`: it has a job, which waits for a LoRA or for residuals.
Activity = Literal["generate", "wait", "serve", "follow", "load", "idle"]
ACTIVITIES: Sequence[Activity] = ("generate", "wait", "serve", "follow", "load", "idle")
#: A base model or a ControlNet, by its number.
Weights = tuple[Literal["model", "controlnet"], int]


class Worker:
    """One worker; the processes that run on it belong to its fleet."""

    def __init__(
        self, name: str, host: Host, serves: Sequence[int], memory_bytes: float, lora_bytes: float
    ) -> None:
        """``serves``: the base models whose jobs it takes; none: it serves ControlNets alone."""
        self.name, self.host, self.serves = name, host, serves
        self.memory: BoundedMemory[Weights] = BoundedMemory(memory_bytes)
        self.loras: BoundedMemory[tuple[int, int]] = BoundedMemory(lora_bytes)  # (model, LoRA)
        self.patched: frozenset[tuple[int, int]] = frozenset()
        self.controlnets: Sequence[int] = ()  # that it has loaded
        self.steps_of: Sequence[int] = ()  # ControlNets that it serves; none: those that it has loaded
        self.reserved: SimulatedJob | None = None  # a job that was sent to it alone
        self.wanted: set[int] = set()  # ControlNets of its jobs that it has not loaded
        self.loading: set[int] = set()  # those that it loads while it is idle
        self.turn = 0  # changes which ControlNet's steps it takes first
        self.woken = Event()
        self.is_idle = False  # and waits for `woken`
        self._activity: Activity = "idle"
        self._since_s = 0.0
        self._seconds = dict.fromkeys(ACTIVITIES, 0.0)

    def put(self, weights: Weights, size_bytes: float) -> list[Weights] | None:
        """Put weights into its memory; returns what was evicted, or ``None`` if they do not fit."""
        evicted = self.memory.add(weights, size_bytes)
        self.controlnets = [number for kind, number in self.memory if kind == "controlnet"]
        return evicted

    def has_loaded(self, model: int) -> bool:
        """Whether a base model is in its memory."""
        return ("model", model) in self.memory

    def holds(self, controlnet: int) -> bool:
        """Whether a ControlNet is in its memory."""
        return ("controlnet", controlnet) in self.memory

    def begin(self, activity: Activity, simulation: Simulation) -> None:
        """Do this from now on."""
        self._seconds[self._activity] += simulation.now_s - self._since_s
        self._activity, self._since_s = activity, simulation.now_s

    def wake(self, simulation: Simulation, reason: Any = None) -> None:
        """End its idle time; ``reason`` is what `woken` brings."""
        self.is_idle = False
        simulation.set(self.woken, reason)

    def seconds(self, simulation: Simulation) -> dict[Activity, float]:
        """Seconds in each activity so far."""
        self.begin(self._activity, simulation)
        return dict(self._seconds)
