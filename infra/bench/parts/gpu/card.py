"""The card: its name, driver and memory, and what of CUDA's tools is there."""

import os
import shutil
import subprocess
from pathlib import Path

import torch

SHARED_MEMORY = Path("/dev/shm")
MPS_CONTROL = "nvidia-cuda-mps-control"


def describe_card(device: torch.device) -> dict[str, str | float]:
    """What figures of a run belong to; on a CPU that they are toy figures."""
    if device.type != "cuda":
        return {"gpu": "none: toy size on the CPU, times mean nothing"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
        "gpu_multiprocessors": float(properties.multi_processor_count),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "driver": read_driver(),
    }


def read_driver() -> str:
    """The driver's version; ``unknown`` without ``nvidia-smi``."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.splitlines()[0].strip() if answer else "unknown"


def has_mps() -> bool:
    """Whether NVIDIA's Multi-Process Service can be started here."""
    return shutil.which(MPS_CONTROL) is not None


def shared_memory_gb() -> float:
    """Free space of ``/dev/shm``."""
    if not SHARED_MEMORY.exists():
        return 0.0
    info = os.statvfs(SHARED_MEMORY)
    return info.f_bavail * info.f_frsize / 1e9


def used_gpu_bytes(device: torch.device) -> int:
    """Memory of the card that is in use, by all processes."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free
