"""A device that fails once, in the middle of a real forward pass.

The file that ``FAULT_FILE`` names holds a key of `FAULTS`. It is renamed to ``raised`` before the fault: the
process that comes after has a sound device.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook


def _lose(output: Tensor) -> None:
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def _fill(output: Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def _fail_assertion(output: Tensor) -> None:
    """For real, on a GPU: the error shows at some later call."""
    output.flatten()[torch.tensor([1 << 30], device=output.device)].sum()


def _allocate(output: Tensor) -> None:
    """For real, on a GPU."""
    torch.empty(1 << 48, dtype=torch.uint8, device=output.device)


FAULTS: Mapping[str, Callable[[Tensor], None]] = {
    "lost": _lose,
    "full": _fill,
    "assert": _fail_assertion,
    "allocate": _allocate,
}
#: A block of both the UNet and the ControlNet.
BLOCK = "UNetMidBlock2DCrossAttn"


def fail_once() -> None:
    """Have the next pass through a `BLOCK` fail, once the file is there."""
    fault = Path(os.environ["FAULT_FILE"])

    def fail(module: torch.nn.Module, args: Any, output: Any) -> None:
        if type(module).__name__ == BLOCK and fault.exists():
            run = FAULTS[fault.read_text()]
            fault.rename(fault.with_name("raised"))
            run(output)

    register_module_forward_hook(fail)
