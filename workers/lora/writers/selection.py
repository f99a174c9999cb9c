"""Chooses how a model's weights are written: by where they are."""

from collections.abc import Mapping

from torch import nn

from workers.devices.selection import find_device
from workers.lora.weight_delta import ParameterKey
from workers.lora.writers.base import WeightWriter
from workers.lora.writers.device import DeviceWriter
from workers.lora.writers.host import HostWriter


def choose_writer(parameters: Mapping[ParameterKey, nn.Parameter]) -> WeightWriter:
    """The writer of these parameters, which are all on one device."""
    device = find_device(next(iter(parameters.values())).device)
    return DeviceWriter(device, parameters) if device.has_own_memory else HostWriter(parameters)
