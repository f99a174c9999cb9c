"""How much memory of a device the weights of one worker may take."""

from shared.settings import Settings
from workers.devices.base import Device
from workers.runtime.budgets.transport_memory import gpu_shared_bytes, taken_bytes

#: Where the device's memory is the host's.
HOST_BYTES = 16 << 30
#: What stays free on a device with memory of its own, for activations and buffers: a share of the whole, of
#: at most so much, and of at least so much beside the memory of residuals, lent and taken. A step of SDXL at
#: 1024 x 1024 and its VAE take some gigabytes.
RESERVE_SHARE, MIN_RESERVE_BYTES, MAX_RESERVE_BYTES = 0.2, 1 << 30, 8 << 30


def budget_bytes(
    settings: Settings, device: Device, step_bytes: int = 0, *, takes_residuals: bool = False
) -> int:
    """The setting, or this process's part of the device, less a reserve, as far as that is free now.

    ``step_bytes``: of the largest step whose residuals it may lend to others. ``takes_residuals``: for jobs
    of its own, whose steps are no larger.

    Called before the first model is loaded. The part does not depend on which of the device's workers have
    loaded theirs by then.
    """
    if settings.model_memory_bytes is not None:
        return settings.model_memory_bytes
    memory = device.memory()
    if memory is None:
        return HOST_BYTES
    part = settings.workers_per_device
    reserve_bytes = RESERVE_SHARE * memory.total_bytes / part
    shared_bytes = gpu_shared_bytes(settings, step_bytes) if settings.gpu_shared == "auto" else 0
    residual_bytes = shared_bytes + (taken_bytes(step_bytes) if takes_residuals else 0)
    reserve_bytes = max(min(reserve_bytes, MAX_RESERVE_BYTES), MIN_RESERVE_BYTES + residual_bytes)
    own_bytes = min(memory.total_bytes / part, memory.free_bytes)
    return max(int(own_bytes - reserve_bytes), MIN_RESERVE_BYTES)
