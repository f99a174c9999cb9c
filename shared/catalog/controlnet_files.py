"""The configs of ControlNets in single files, where the names and shapes of their weights tell them."""

from pathlib import Path

from shared.errors import InvalidLora
from shared.families.base import Config
from shared.families.registry import family_of_controlnet_file
from shared.storage.safetensors_header import read_header


def derive_config(path: Path) -> Config | None:
    """The config of the ControlNet in the file ``path``; None: it does not tell it, or cannot be read."""
    try:
        tensors = read_header(path).tensors
    except (OSError, InvalidLora):
        return None  # who loads it says what is wrong
    facts = family_of_controlnet_file(list(tensors))
    if facts is None:
        return None
    return facts.controlnet_file_config({name: tensor.shape for name, tensor in tensors.items()})
