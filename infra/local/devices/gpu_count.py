"""How many NVIDIA GPUs there are: asked in processes of their own, so that CUDA is not started in this one.

``python -m infra.local.devices.gpu_count`` prints the number that the driver shows.
"""

import ctypes
import subprocess
import sys
from contextlib import suppress
from typing import Any

from infra.local.environment import inherit
from shared.settings import ROOT

#: Without its persistence daemon the driver takes a second a card to wake up.
TIMEOUT_S = 60.0
_ASK_TORCH = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


def count_for_driver() -> int:
    """GPUs that the driver shows; 0 where there is none, or where it does not answer."""
    return (_ask("-m", "infra.local.devices.gpu_count") if load_driver() else None) or 0


def count_for_torch() -> int | None:
    """GPUs that torch can compute on: none with a driver that is too old; ``None`` where it does not say."""
    return _ask("-W", "ignore", "-c", _ASK_TORCH)


def load_driver() -> Any:
    """The driver's library; ``None`` where it is not installed."""
    with suppress(OSError):
        return ctypes.CDLL("libcuda.so.1")
    return None


def _ask(*words: str) -> int | None:
    with suppress(subprocess.SubprocessError, ValueError):
        answer = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=inherit({}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        return int(answer.stdout)
    return None


def main() -> int:
    """Print the number; returns 1 where the driver gives an error."""
    driver, count = load_driver(), ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 1
    print(count.value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
