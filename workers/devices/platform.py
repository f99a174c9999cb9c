"""Describes what decides the last bits of what this process computes: for receipts and queues."""

import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from shared.jobs.receipt import Platform
from workers.devices.base import Device

#: Their code decides the bits.
LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers", "peft")
#: Fields of ``/proc/cpuinfo`` that name a kind of CPU: of x86, and of ARM.
_KIND = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
#: Features by which oneDNN chooses kernels, beyond the instruction set that torch names.
_FEATURES = frozenset(
    {"fma", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}
    | {"amx_fp16", "sve", "sve2", "bf16", "i8mm"}
)


def describe_platform(device: Device) -> Platform:
    """The platform of this process, which computes on ``device``."""
    accelerator = device.describe()
    return Platform(
        device=device.torch_device.type,
        threads=torch.get_num_threads(),
        versions=_versions(),
        accelerator=accelerator,
        processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        cpu_model="" if accelerator else describe_cpu(),
    )


@cache
def describe_cpu(
    cpuinfo: Path = Path("/proc/cpuinfo"), caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")
) -> str:
    """Maker, model, features and caches of the CPU, as Linux says them; what it does not say is left out.

    MKL chooses kernels by maker and model, oneDNN by features; both cut sums into blocks by the caches' sizes
    for each core that shares one (``get_per_core_cache_size`` in oneDNN's ``src/cpu/platform.cpp``).
    """
    parts = [" ".join(names) for names in (_kind(cpuinfo), _features(cpuinfo), sorted(_caches(caches)))]
    return ", ".join(part for part in parts if part)[:255]


@cache
def _versions() -> dict[str, str]:
    """Read once: an installation that is changed meanwhile changes no running process."""
    return {library: version(library) for library in LIBRARIES}


def _cpuinfo(path: Path) -> dict[str, str]:
    """What the file says of the first CPU."""
    try:
        first, _, _ = path.read_text().partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _kind(cpuinfo: Path) -> list[str]:
    said = _cpuinfo(cpuinfo)
    return [f"{name} {said[name]}" for name in _KIND if name in said]


def _features(cpuinfo: Path) -> list[str]:
    said = _cpuinfo(cpuinfo)
    return sorted(_FEATURES.intersection(said.get("flags", said.get("Features", "")).split()))


def _caches(folder: Path) -> Iterator[str]:
    """Each cache of data with its size, and how many CPUs share it."""
    for cache_folder in folder.glob("index*"):
        try:
            level, kind, size, cpus = (
                (cache_folder / name).read_text().strip()
                for name in ("level", "type", "size", "shared_cpu_map")
            )
            sharing = int(cpus.replace(",", ""), 16).bit_count()
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            yield f"L{level} {size}/{sharing}"
