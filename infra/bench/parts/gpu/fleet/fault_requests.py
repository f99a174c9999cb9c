"""Makes a step of a worker's job fail as a lost device does, when a file asks for it.

On a GPU the fault is real: a device-side assert, after which no call of this process works any more. On a
CPU its error is raised. The scheduler's step is where it happens: every engine comes by it in every step.
"""

import functools
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler

#: A file in the home of a fleet; the worker that takes it fails, once.
REQUEST = "fault-request"


def fail_on_request(home: Path) -> None:
    """Look for a request before each step of this process's jobs."""
    step = EulerDiscreteScheduler.step

    @functools.wraps(step)
    def failing(scheduler: Any, noise: torch.Tensor, *args: Any, **options: Any) -> Any:
        if take(home / REQUEST):
            lose_device(noise.device)
        return step(scheduler, noise, *args, **options)

    EulerDiscreteScheduler.step = failing


def lose_device(device: torch.device) -> None:
    """An assert in a kernel; on a CPU the error that torch would raise."""
    if device.type != "cuda":
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    outside = torch.full((1,), 1 << 20, device=device, dtype=torch.long)
    torch.zeros(8, device=device)[outside].sum().item()


def take(request: Path) -> bool:
    """Whether the request is there; it is gone then."""
    try:
        request.unlink()
    except FileNotFoundError:
        return False
    return True
