"""Reads a single file of weights with diffusers' own conversion, and refuses what it would pass over."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import (
    create_diffusers_clip_model_from_ldm,
    create_diffusers_t5_model_from_checkpoint,
)
from safetensors import safe_open
from torch import Tensor

from shared.families.transformer import FILE_TEXT_ENCODERS, T5, TransformerFacts
from shared.families.weight_names import has_prefix
from workers.model_checks.weight_files import Unloadable
from workers.runtime.weights.source import FILE_PREFIX

#: Weights in files of text encoders that transformers has none of: counts, and a projection of CLIP's that
#: Flux.1 does not read.
_UNUSED = {"embeddings.position_ids", "text_projection.weight"}


def read_parts(path: str, facts: TransformerFacts) -> dict[str, dict[str, Tensor]]:
    """The weights of a base model's single file, by the parts that it holds, but for those of text encoders.

    Raises `Unloadable`.
    Names of the denoiser's may have `FILE_PREFIX` before them, which not all of diffusers' conversions know.
    """
    with safe_open(path, framework="pt") as opened:
        names = [name for name in opened.keys() if not name.startswith(FILE_TEXT_ENCODERS)]  # noqa: SIM118
        weights: dict[str, Tensor] = {name: opened.get_tensor(name) for name in names}
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


def held_text_encoders(path: str, facts: TransformerFacts) -> dict[str, str]:
    """What the names of weights begin with of each text encoder that a single file holds, by part."""
    with safe_open(path, framework="pt") as opened:
        names = list(opened.keys())
    return {part: prefix for part, prefix in facts.file_text_encoders.items() if has_prefix(names, (prefix,))}


def load_text_encoder(path: str, prefix: str, kind: Any, config: str, part: str, dtype: torch.dtype) -> Any:
    """A text encoder of transformers' class ``kind`` from its weights in a single file, as diffusers does.

    ``config`` is a folder with its config in the subfolder ``part``. Raises `Unloadable`.
    """
    with safe_open(path, framework="pt") as opened:
        names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118
        weights = {name: opened.get_tensor(name) for name in names}
    convert = (
        create_diffusers_t5_model_from_checkpoint if prefix == T5 else create_diffusers_clip_model_from_ldm
    )
    encoder: Any = convert(
        kind, weights, subfolder=part, config=config, torch_dtype=dtype, local_files_only=True
    )
    encoder.tie_weights()  # files hold one of several names
    own = {_flat(name) for name in encoder.state_dict()} | _UNUSED
    if unknown := {name for name in names if _flat(name.removeprefix(prefix)) not in own}:
        raise Unloadable(_names("holds", unknown, f"that its {part} has no place for"))
    if lacking := {name for name, tensor in encoder.state_dict().items() if tensor.is_meta}:
        raise Unloadable(_names("lacks", lacking, f"of its {part}"))
    return encoder.eval()


def _flat(name: str) -> str:
    """Of a CLIP: files have a module around it that transformers has left out since."""
    return name.removeprefix("text_model.")


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
