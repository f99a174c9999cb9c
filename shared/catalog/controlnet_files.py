"""The configs of ControlNets in single files, where the names and shapes of their weights tell them."""

from collections.abc import Mapping

from shared.families.base import Config
from shared.families.registry import family_of_controlnet_file
from shared.storage.safetensors_header import TensorInfo


def derive_config(tensors: Mapping[str, TensorInfo]) -> Config | None:
    """The config of the ControlNet in a file with these tensors; None: they do not tell it."""
    facts = family_of_controlnet_file(list(tensors))
    if facts is None:
        return None
    return facts.controlnet_file_config({name: tensor.shape for name, tensor in tensors.items()})
