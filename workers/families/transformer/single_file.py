"""Reads a single file of weights with diffusers' own conversion, and refuses what it would pass over."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import load_single_file_checkpoint
from torch import Tensor

from shared.families.transformer import TransformerFacts
from workers.model_checks.weight_files import Unloadable
from workers.runtime.weights.source import FILE_PREFIX


def read_parts(path: str, facts: TransformerFacts) -> dict[str, dict[str, Tensor]]:
    """The weights of a base model's single file, by the parts that it holds; raises `Unloadable`.

    Names of the denoiser's may have `FILE_PREFIX` before them, which not all of diffusers' conversions know.
    """
    weights: dict[str, Tensor] = load_single_file_checkpoint(path)
    vae = {name: tensor for name, tensor in weights.items() if name.startswith(facts.file_vae_prefixes)}
    denoiser: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name in vae:
            continue
        own = name.removeprefix(FILE_PREFIX)
        if own in denoiser:
            raise Unloadable(f"it holds the weight {own} twice, also with the prefix {FILE_PREFIX}")
        denoiser[own] = tensor
    return {facts.denoiser: denoiser, "vae": vae} if vae else {facts.denoiser: denoiser}


def load_weights(
    kind: Any, weights: dict[str, Tensor], config: str, part: str | None, dtype: torch.dtype
) -> Any:
    """A model of the diffusers class ``kind`` from its weights, by diffusers' names or others.

    ``config`` is a folder with its config, in the subfolder ``part`` if there is one. Raises `Unloadable`.
    """
    if kind.__name__ not in SINGLE_FILE_LOADABLE_CLASSES:
        raise Unloadable(f"diffusers reads no {kind.__name__} from a single file: save it as a folder")
    described = kind.load_config(config, subfolder=part, local_files_only=True)
    with init_empty_weights():
        model = kind.from_config(described)
    wanted = set(model.state_dict())
    # A few too many or too few of diffusers' own names are not converted either: errors name what is wrong.
    is_by_diffusers_names = weights.keys() <= wanted or wanted <= weights.keys()
    if not is_by_diffusers_names:
        weights = to_diffusers_names(kind, weights, model.config)
    if unknown := weights.keys() - wanted:
        raise Unloadable(_names("holds", unknown, f"that its {kind.__name__} has no place for"))
    if lacking := wanted - weights.keys():
        raise Unloadable(_names("lacks", lacking, f"of its {kind.__name__}"))
    return kind.from_single_file(weights, config=config, subfolder=part, local_files_only=True, dtype=dtype)


def to_diffusers_names(kind: Any, weights: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by diffusers' names; raises `Unloadable` for what the conversion passes over."""
    convert = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
    try:
        converted: dict[str, Tensor] = convert(checkpoint=weights, config=config)
    except KeyError as error:
        raise Unloadable(f"it lacks the weight {error.args[0]!r}") from None
    # Conversions take what they know out of ``weights``, but for that of VAEs, which makes views of it.
    used = {tensor.data_ptr() for tensor in converted.values()} if kind is AutoencoderKL else set()
    left = [name for name, tensor in weights.items() if tensor.data_ptr() not in used]
    if converted is not weights and left:
        raise Unloadable(_names("holds", left, f"that a {kind.__name__} does not have"))
    return converted


def _names(verb: str, names: Collection[str], what: str) -> str:
    return f"it {verb} {len(names)} weights {what}, such as {min(names)}"
