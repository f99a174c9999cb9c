"""The weights of a text encoder, as something that is loaded and unloaded apart from its model.

Of a model that is loaded without them they are read only if their hash is not known.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shared.errors import ModelFailed
from workers.runtime.weights.hash_cache import LoadHashes
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


class ModelHashes(NamedTuple):
    """Of a model's weights as they are loaded."""

    sha256: str
    text_sha256: str  # of the text encoders alone
    apart: Mapping[str, ApartEncoder]  # the text encoders that it is loaded without


def build_on_meta(kind: Any, folder: str, part: str, dtype: torch.dtype) -> Any:
    """A text encoder of transformers' class ``kind``: names, types and shapes of its weights alone."""
    config = kind.config_class.from_pretrained(folder, subfolder=part)
    with torch.device("meta"):
        encoder = kind._from_config(config, dtype=dtype)
    for kept, own in encoder._get_dtype_plan(dtype).items():  # in float16 some of T5's stay in float32
        for name, weight in encoder.named_parameters():
            if kept in name.split("."):
                weight.data = weight.data.to(own)
    return encoder


def find_hashes(
    hashes: LoadHashes, parts: Mapping[str, nn.Module], text_parts: Collection[str]
) -> ModelHashes | None:
    """The hashes of a model whose text encoders are `build_on_meta`, if all of them are known.

    Then the text encoders have no weights afterwards, as after `drop_weights`. What is known was whole and
    finite, as models are hashed after they have been checked.
    """
    encoders = {part: module for part, module in parts.items() if part in text_parts}
    sha256, text_sha256 = hashes.known(parts), hashes.known(encoders)
    apart = {}
    for part, encoder in encoders.items():
        own = hashes.known_text_encoder(part, encoder)
        if own is None or _has_other_tensors(encoder):
            return None
        apart[part] = ApartEncoder(own, weight_bytes([encoder]))
    if sha256 is None or text_sha256 is None:
        return None
    for encoder in encoders.values():
        _replace_by_empty(encoder)
    return ModelHashes(sha256, text_sha256, apart)


def hash_model(
    hashes: LoadHashes,
    parts: Mapping[str, nn.Module],
    text_parts: Collection[str],
    *,
    without_text_encoders: bool,
) -> ModelHashes:
    """The hashes of a model, from the host's memory; without its text encoders their weights are dropped."""
    found = hashes.of_model(parts, text_parts, alone=without_text_encoders)
    encoders = {part: parts[part] for part in found.alone}
    apart = {
        part: ApartEncoder(found.alone[part], weight_bytes([encoder])) for part, encoder in encoders.items()
    }
    drop_weights(encoders)
    return ModelHashes(found.model, found.texts, apart)


def _has_other_tensors(encoder: nn.Module) -> bool:
    """Whether modules keep tensors that are neither parameters nor buffers, which nobody attaches."""
    return any(isinstance(value, Tensor) for module in encoder.modules() for value in vars(module).values())


def _replace_by_empty(encoder: nn.Module) -> None:
    """Have weights on meta use no memory of the host's; those that are tied stay so."""
    empty: dict[int, nn.Parameter] = {}
    for module in encoder.modules():
        for name, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            own = nn.Parameter(torch.empty(0, dtype=weight.dtype), requires_grad=weight.requires_grad)
            setattr(module, name, empty.setdefault(id(weight), own))
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, torch.empty(0, dtype=buffer.dtype))


def _named(encoder: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from encoder.named_parameters()
    yield from encoder.named_buffers()
