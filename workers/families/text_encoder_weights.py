"""The weights of a model's text encoders, as something that is loaded and unloaded apart from the model."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from shared.errors import ModelFailed
from workers.runtime.weights.loaded import weight_bytes


class TextEncoderWeights:
    """Tensors on the device, by part and name; what holds them are the modules of a model."""

    def __init__(self, encoders: Mapping[str, nn.Module], sha256: str) -> None:
        """``encoders``: modules that were loaded for their weights; ``sha256`` of these."""
        self.sha256 = sha256
        self.weight_bytes = weight_bytes(encoders.values())
        self._tensors = {part: dict(_named(encoder)) for part, encoder in encoders.items()}

    def attach(self, encoders: Mapping[str, nn.Module]) -> None:
        """Have a model's text encoders use these tensors, which are not copied; undone by `drop_weights`."""
        own = {part: dict(_named(encoder)) for part, encoder in encoders.items()}
        names = {part: set(tensors) for part, tensors in self._tensors.items()}
        if names != {part: set(tensors) for part, tensors in own.items()}:
            raise ModelFailed("its text encoders have other weights than when the model was loaded")
        for part, tensors in own.items():
            for name, tensor in tensors.items():
                tensor.data = self._tensors[part][name].data


def drop_weights(encoders: Mapping[str, nn.Module]) -> None:
    """Have text encoders use no memory, until weights are attached."""
    for encoder in encoders.values():
        for _, tensor in _named(encoder):
            tensor.data = tensor.data.new_empty(0)


def _named(encoder: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from encoder.named_parameters()
    yield from encoder.named_buffers()
