"""What is simulated: a fleet, its policy, and the traffic."""

from dataclasses import dataclass
from typing import Literal

#: `elastic`: whoever holds a ControlNet may claim a step (ADR 28). `fixed`: UNet workers and ControlNet
#: workers. `plain`: Celery workers that run whole jobs with diffusers.
Policy = Literal["elastic", "fixed", "plain"]
GB = 1e9
#: Up to so many devices every step is simulated; in larger fleets this many at a time: the larger the fleet,
#: the less a single step matters.
FINE_DEVICES, MEDIUM_DEVICES = 64, 256
MEDIUM_STEPS, COARSE_STEPS = 5, 10


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """Devices, their memory, and what the fleet does with them."""

    policy: Policy = "elastic"
    devices: int  # all of them
    controlnet_devices: int = 0  # of them; policy `fixed` only
    memory_bytes: float = 72 * GB  # for models, of each device
    models_per_worker: int | None = None  # base models that each worker serves; None: all
    devices_per_host: int = 8
    lora_memory_bytes: float = 2 * 1024**3  # parsed, of each worker: the setting's default
    lora_cache_bytes: float = 10 * 1024**3  # on the disk of each host: the setting's default
    s3_bytes_per_s: float = 1.25 * GB
    is_s3_shared: bool = False  # by the whole fleet; else each host has a line of its own
    loaded_first: bool = True  # jobs of loaded models come first (ADR 30); else queues are served in turn
    placement: bool = True
    split: bool = True  # CFG branches on two devices while one is idle

    def __post_init__(self) -> None:
        """Raise `ValueError` for a fleet that can generate nothing."""
        unets = self.devices - self.controlnet_devices
        if unets < 1 or self.controlnet_devices < 0:
            raise ValueError(f"{self.devices} devices, {self.controlnet_devices} of them for ControlNets")
        if self.policy != "fixed" and self.controlnet_devices:
            raise ValueError(f"policy {self.policy} has no devices for ControlNets alone")


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Jobs that arrive: how many, when, and what they ask for."""

    rate_per_s: float
    duration_s: float = 3600.0
    warm_up_s: float = 300.0  # of it: jobs that arrive by then are not counted
    cv: float = 1.0  # coefficient of variation of the gaps; 1: Poisson
    steps: int = 50
    models: int = 3
    controlnets: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise `ValueError` if nothing would be counted."""
        if not 0 <= self.warm_up_s < self.duration_s or self.rate_per_s <= 0:
            raise ValueError(
                f"{self.rate_per_s} jobs a second, {self.duration_s} s, {self.warm_up_s} s to warm up"
            )


def steps_at_a_time(devices: int) -> int:
    """How many steps a fleet of that size takes for one event."""
    if devices <= FINE_DEVICES:
        return 1
    return MEDIUM_STEPS if devices <= MEDIUM_DEVICES else COARSE_STEPS
