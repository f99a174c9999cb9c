"""The weights of a text encoder, as something that is loaded and unloaded apart from its model."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from shared.errors import ModelFailed
from workers.runtime.weights.loaded import weight_bytes


class ApartEncoder(NamedTuple):
    """A text encoder that a model is loaded without: what tells its weights from others."""

    sha256: str  # of `LoadHashes.of_text_encoder`
    weight_bytes: int


class TextEncoderWeights:
    """Tensors on the device, by name; what holds them is the text encoder of a model."""

    def __init__(self, encoder: nn.Module, sha256: str) -> None:
        """``encoder``: a module that was loaded for its weights; ``sha256`` of these."""
        self.sha256 = sha256
        self.weight_bytes = weight_bytes([encoder])
        self._tensors = dict(_named(encoder))

    def attach(self, encoder: nn.Module) -> None:
        """Have a model's text encoder use these tensors, which are not copied; undone by `drop_weights`."""
        own = dict(_named(encoder))
        if own.keys() != self._tensors.keys():
            raise ModelFailed("its text encoders have other weights than when the model was loaded")
        for name, tensor in own.items():
            tensor.data = self._tensors[name].data


def drop_weights(encoders: Mapping[str, nn.Module]) -> None:
    """Have text encoders use no memory, until weights are attached."""
    for encoder in encoders.values():
        for _, tensor in _named(encoder):
            tensor.data = tensor.data.new_empty(0)


def _named(encoder: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from encoder.named_parameters()
    yield from encoder.named_buffers()
