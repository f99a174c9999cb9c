"""A device that fails once, in the middle of a real forward pass.

The file that ``FAULT_FILE`` names holds a key of `ERRORS`. It is renamed to ``raised`` when the error is
raised: the process that comes after has a sound device.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

ERRORS = {
    "lost": torch.AcceleratorError("CUDA error: device-side assert triggered"),
    "full": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
}
#: A block of both the UNet and the ControlNet.
BLOCK = "UNetMidBlock2DCrossAttn"


def fail_once() -> None:
    """Have the next pass through a `BLOCK` fail, once the file is there."""
    fault = Path(os.environ["FAULT_FILE"])

    def fail(module: torch.nn.Module, args: Any, output: Any) -> None:
        if type(module).__name__ == BLOCK and fault.exists():
            error = ERRORS[fault.read_text()]
            fault.rename(fault.with_name("raised"))
            raise error

    register_module_forward_hook(fail)
