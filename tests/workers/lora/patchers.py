"""Patchers that write weights in each of the ways there are, all of them on a CPU."""

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from tests.fake_device import FakeDevice
from workers.lora.patch import Patcher
from workers.lora.scales import LayerScales, no_layer_scales
from workers.lora.weight_delta import ParameterKey
from workers.lora.writers.device import DeviceWriter
from workers.lora.writers.pristine import PristinePlace


class MakePatcher(Protocol):
    """Makes a patcher of some parts of a model."""

    def __call__(self, parts: Mapping[str, nn.Module], layer_scales: LayerScales = ...) -> Patcher: ...


def device_writer(
    parts: Mapping[str, nn.Module], device: FakeDevice | None = None, place: PristinePlace = "auto"
) -> DeviceWriter:
    """Writes as on a GPU."""
    parameters: dict[ParameterKey, nn.Parameter] = {
        (part, name): parameter
        for part, model in parts.items()
        for name, parameter in model.named_parameters()
    }
    writer = DeviceWriter(device or FakeDevice(), parameters)
    writer.keep_pristine(place)
    return writer


def _on_cpu(parts: Mapping[str, nn.Module], layer_scales: LayerScales = no_layer_scales) -> Patcher:
    return Patcher(parts, layer_scales)


def _on_device(parts: Mapping[str, nn.Module], layer_scales: LayerScales = no_layer_scales) -> Patcher:
    return Patcher(parts, layer_scales, device_writer(parts))


def _pristine_on_host(parts: Mapping[str, nn.Module], layer_scales: LayerScales = no_layer_scales) -> Patcher:
    return Patcher(parts, layer_scales, device_writer(parts, place="host"))


WRITERS: dict[str, MakePatcher] = {
    "on a CPU": _on_cpu,
    "on a device": _on_device,
    "on a device, pristine on the host": _pristine_on_host,
}
