"""How much memory residuals may take on their way: what an operator has set, or what the catalog's need.

``step_bytes`` is the largest step that the worker sends or receives: see `shared.catalog.step_bytes`.
"""

import math

from shared.settings import Settings
from workers.devices.base import Device

#: Steps that a writer holds at once: it computes for several base models, each of which reads one step while
#: the next may be on its way. One device with a ControlNet keeps two to eleven transformers busy.
STEPS_ON_HOST = 4
#: In a GPU's memory, which models need more: what finds no room there goes through the host's.
STEPS_ON_GPU = 2
#: On the device of a worker that takes residuals: its own ControlNets' are summed if they are computed in the
#: job's order, and those of another worker may have come before the base model needs them.
STEPS_TAKEN = 2
#: What catalogs of UNets have: a step of SDXL takes 107 MB, one of SD 1.5 27 MB.
MIN_HOST_BYTES, MIN_GPU_BYTES = 1 << 30, 512 << 20


def shared_memory_bytes(settings: Settings, step_bytes: int) -> int:
    """Shared memory of one worker, for what it serves."""
    if settings.shared_memory_bytes is not None:
        return settings.shared_memory_bytes
    return max(MIN_HOST_BYTES, STEPS_ON_HOST * step_bytes)


def gpu_shared_bytes(settings: Settings, step_bytes: int) -> int:
    """GPU memory that one worker lends to others; it is set aside beside the models'."""
    if settings.gpu_shared_bytes is not None:
        return settings.gpu_shared_bytes
    return max(MIN_GPU_BYTES, STEPS_ON_GPU * step_bytes)


def taken_bytes(step_bytes: int) -> int:
    """Memory of the device for residuals that a worker's own job has not added to its base model yet."""
    return STEPS_TAKEN * step_bytes


def max_held_bytes(device: Device, step_bytes: int) -> float:
    """How many bytes of such residuals are brought to the device before they are needed.

    Jobs of several or of larger images have larger steps than the one that memory is set aside for.
    """
    return max(MIN_GPU_BYTES, taken_bytes(step_bytes)) if device.has_own_memory else math.inf
