"""Checks of the devices that settings name, before anything is started; and which GPUs nothing uses."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

from infra.local.checks import CannotStart
from infra.local.devices.assignment import worker_devices
from infra.local.devices.gpu_count import count_for_driver, count_for_torch, load_driver
from shared.settings import Settings
from workers.devices.visible import gpu_number, is_gpu

#: With any of these the operator has chosen.
CHOICES = frozenset({"device", "unet_devices", "controlnet_devices"})


def check_devices(
    settings: Settings, *, has_controlnets: bool, count_gpus: Callable[[], int | None] = count_for_torch
) -> None:
    """Every device that settings name is here, and no ControlNet worker is left to a CPU unnoticed.

    Raises `CannotStart` that names the setting.
    """
    if has_controlnets:
        _check_controlnet_devices(settings)
    count: int | None = None
    for setting, device in _named(settings):
        check_device(setting, device)
        if (number := gpu_number(device)) is None:
            continue
        count = count_gpus() if count is None else count
        if count is not None and number >= count:
            raise CannotStart(f"{setting}: torch {version('torch')} sees {count} CUDA devices here")


def check_device(setting: str, device: str) -> None:
    """There may be such a device, as far as can be seen without torch; raises `CannotStart`."""
    if is_gpu(device) and is_without_cuda():
        raise CannotStart(f"{setting}: the installed torch {version('torch')} is built without CUDA")
    if is_gpu(device) and load_driver() is None:
        raise CannotStart(f"{setting}: this machine has no NVIDIA driver (libcuda.so.1)")
    if device == "mps" and sys.platform != "darwin":
        raise CannotStart(f"{setting}: only macOS has mps")


def _check_controlnet_devices(settings: Settings) -> None:
    """With UNet workers on GPUs, where ControlNets are computed was said; raises `CannotStart`."""
    computing = worker_devices(settings)
    if settings.controlnet_devices or not computing["controlnet"] or is_gpu(settings.device):
        return
    if gpus := [device for device in computing["unet"] if is_gpu(device)]:
        raise CannotStart(
            f"SWIFT_UNET_DEVICES={','.join(settings.unet_devices)}: ControlNets would be computed on "
            f"{settings.device}, and each step would wait for it: set SWIFT_CONTROLNET_DEVICES too, "
            f"to {gpus[-1]}, another GPU or cpu, or SWIFT_CONTROLNET_WORKERS=0 for no ControlNet worker"
        )


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each device that a worker gets, once for each setting that names it, which is told as it was set."""
    names = {"unet": "SWIFT_UNET_DEVICES", "controlnet": "SWIFT_CONTROLNET_DEVICES"}
    given = {"unet": settings.unet_devices, "controlnet": settings.controlnet_devices}
    for kind, devices in worker_devices(settings).items():
        for device in dict.fromkeys(devices):
            listed = f"{names[kind]}={','.join(given[kind])}"
            yield (listed if given[kind] else f"SWIFT_DEVICE={device}"), device


def describe_unused_gpus(
    settings: Settings, *, count_gpus: Callable[[], int] = count_for_driver
) -> str | None:
    """What to set so that the stack uses this machine's GPUs; ``None`` if there are none or it was chosen."""
    if settings.model_fields_set & CHOICES or not (count := count_gpus()):
        return None
    gpus = [f"cuda:{i}" for i in range(count)]
    advice = f"SWIFT_UNET_DEVICES={','.join(gpus)}"  # an idle one serves ControlNets for the others' jobs
    what = "1 GPU of this machine is" if count == 1 else f"{count} GPUs of this machine are"
    torch = " and install torch for CUDA" if is_without_cuda() else ""
    return f"{what} not used: set {advice}{torch} (infra/docs/operations.md, On GPUs)"


def is_without_cuda() -> bool:
    """Whether the installed torch computes on CPUs alone."""
    return "+cpu" in version("torch")
