"""Patchers that write weights in each of the ways there are, all of them on a CPU."""

from collections.abc import Callable, Mapping

from torch import nn

from tests.fake_device import FakeDevice
from workers.lora.patch import Patcher
from workers.lora.weight_delta import ParameterKey
from workers.lora.writers.device import DeviceWriter
from workers.lora.writers.pristine import PristinePlace

MakePatcher = Callable[[Mapping[str, nn.Module]], Patcher]


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


WRITERS: dict[str, MakePatcher] = {
    "on a CPU": Patcher,
    "on a device": lambda parts: Patcher(parts, writer=device_writer(parts)),
    "on a device, pristine on the host": lambda parts: Patcher(
        parts, writer=device_writer(parts, place="host")
    ),
}
