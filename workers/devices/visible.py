"""Which GPUs a process sees: only its own.

CUDA numbers the GPUs that ``CUDA_VISIBLE_DEVICES`` names, in that order. A thread of a process that sees
several is on ``cuda:0`` until it says otherwise, and the first thing that it does there, such as pinning
memory, opens a context of several hundred MB on a card that may be another worker's.
"""

import os
import sys
from itertools import takewhile

from shared.errors import InvalidSetting
from shared.settings import Settings

#: Read by CUDA once, when a process first asks it for anything.
VARIABLE = "CUDA_VISIBLE_DEVICES"
#: What torch calls the only GPU that it sees.
ONLY = "cuda:0"


def hide_other_gpus(settings: Settings) -> Settings:
    """Hide all GPUs but ``SWIFT_DEVICE`` from this process; returns the settings by which it goes on.

    There the device is the first and only one, and ``device_name`` says what the operator calls it. To be
    called before anything asks CUDA, as importing torch and diffusers does not. Raises `InvalidSetting`.
    """
    if not is_gpu(settings.device):
        return settings
    torch = sys.modules.get("torch")  # not imported here: the supervisor of a fleet needs none
    assert torch is None or not torch.cuda.is_initialized(), "too late: CUDA has read its environment"
    os.environ[VARIABLE] = show_only(settings.device, os.environ.get(VARIABLE))
    name = settings.device_name or settings.device
    return settings.model_copy(update={"device": ONLY, "device_name": name})


def show_only(device: str, visible: str | None) -> str:
    """The value of `VARIABLE` that shows a process one GPU alone: an index, or a UUID.

    ``visible`` is the value by which ``device`` was named, ``None`` where all GPUs are visible. Raises
    `InvalidSetting` if it is not among them.
    """
    index = gpu_number(device) or 0
    if visible is None:
        return str(index)
    # Of what follows an entry that names no GPU, such as -1, CUDA shows nothing.
    shown = list(takewhile(lambda entry: entry and entry[0] != "-", map(str.strip, visible.split(","))))
    if index >= len(shown):
        raise InvalidSetting(f"SWIFT_DEVICE={device}: {VARIABLE}={visible!r} shows {len(shown)} GPUs")
    return shown[index]


def gpu_number(device: str) -> int | None:
    """Which GPU a device is; ``None``: it is none. ``cuda`` is the first, as ``cuda:0``."""
    return int(device.partition(":")[2] or 0) if is_gpu(device) else None


def is_gpu(device: str) -> bool:
    """Whether a device, as settings name it, is an NVIDIA GPU."""
    return device.partition(":")[0] == "cuda"
