"""Checks the files that a catalog entry names, by file names, JSON and headers only: no weights are read.

Libraries load some incomplete models silently (a tokenizer without its files) and refuse others with an
obscure error (a file without a VAE). Here both are refused in one sentence that names the part. Hub ids are
checked when they are loaded.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.catalog.controlnet_files import derive_config
from shared.catalog.entries import HUB, SINGLE_FILE, ControlNetEntry, LoadOptions, ModelEntry, locate
from shared.errors import ModelFailed
from shared.families.base import Config, FamilyFacts
from shared.families.registry import (
    controlnet_classes,
    family_of_controlnet,
    family_of_controlnet_file,
    family_of_file,
    family_of_pipeline,
)
from shared.families.transformer import TransformerFacts
from shared.families.weight_names import contains_any
from workers.model_checks.entry_options import controlnet_option_problem, option_problem
from workers.model_checks.quantized import refuse_quantized_config, refuse_quantized_weights
from workers.model_checks.tokenizer import check_tokenizer
from workers.model_checks.weight_files import Unloadable, has_files, read_header, read_json, weight_files

#: File names of weights up to the first dot: in most parts, and in parts that transformers loads.
_STEM, _ENCODER_STEM = "diffusion_pytorch_model", "model"
#: Other contents of a single file, and substrings of which one occurs in a name of their weights.
_CONTROLNET, _LORA = "a ControlNet", "a LoRA (those belong in the LoRA bucket)"
_BASE_MODEL = "a base model"
_OTHERS = {
    _LORA: (
        ".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".hada_w1_a", ".lokr_w", "lora_unet_", "lora_te",
    ),
    _CONTROLNET: ("control_model.", "controlnet_cond_embedding.", "input_hint_block."),
    "a Flux.2": ("single_stream_modulation.",),
    "a Flux.3": ("early_stream_modulations.",),
    "a Chroma": ("distilled_guidance_layer.",),
    "a HunyuanDiT": ("text_embedding_padding",),
    "a Sana": ("attention_y_norm.", ".ff.conv_inverted."),
    "an incomplete Flux.1": ("double_blocks.0.img_attn.",),
    "an incomplete Stable Diffusion 3": ("joint_blocks.",),
}  # fmt: skip


def check_model_entry(name: str, entry: ModelEntry, catalog: Path) -> None:
    """Check an entry of the catalog file at ``catalog``; raises `ModelFailed` in one sentence."""
    if not entry.source.startswith(HUB):
        config = None if entry.config is None else str(locate(catalog, entry.config))
        options = entry.model_copy(update={"config": config})
        check_model_source(name, locate(catalog, entry.source), options)
        described = Path(options.config or locate(catalog, entry.source))
        with _named(f"model {name!r} ({described})"):
            facts = _family(read_json(described, "model_index.json")) if described.is_dir() else None
            if facts is not None and (problem := option_problem(facts, entry)):
                raise Unloadable(problem)


def check_controlnet_entry(name: str, entry: ControlNetEntry, catalog: Path) -> None:
    """Check an entry of the catalog file at ``catalog``; raises `ModelFailed` in one sentence."""
    if not entry.source.startswith(HUB):
        path = locate(catalog, entry.source)
        config = None if entry.config is None else str(locate(catalog, entry.config))
        check_controlnet_source(name, path, entry.variant, config)
        with _named(f"ControlNet {name!r} ({path})"):
            folder = path if config is None else Path(config)
            described = read_json(folder, "config.json") if folder.is_dir() else _derive_config(folder)
            facts = family_of_controlnet(described) if described else None
            if facts is not None:
                problem = controlnet_option_problem(facts, entry, described)
                if problem := problem or facts.controlnet_problem(described):
                    raise Unloadable(problem)


def check_model_source(name: str, path: Path, options: LoadOptions | None = None) -> None:
    """Check the folder or single file of a base model; raises `ModelFailed` in one sentence."""
    options = options or LoadOptions()
    with _named(f"model {name!r} ({path})"):
        if path.is_dir():
            _check_folder(path, options.variant)
        else:
            _check_single_file(path, options)


def check_controlnet_source(
    name: str, path: Path, variant: str | None = None, config: str | None = None
) -> None:
    """Check the folder or single file of a ControlNet; raises `ModelFailed` in one sentence.

    ``config``: the folder with the config of a single file.
    """
    with _named(f"ControlNet {name!r} ({path})"):
        if not path.is_dir():
            names = _read_names(path)
            if family_of_controlnet_file(names) is None or contains_any(names, _OTHERS[_LORA]):
                raise Unloadable(f"it is {_kind_of(names)}, not a ControlNet")
            if config is not None:
                read_json(Path(config), "config.json")
            return
        if (path / "model_index.json").is_file():
            raise Unloadable("it is a base model, not a ControlNet")
        _refuse_if_lora(path)
        classes = controlnet_classes()
        kind = read_json(path, "config.json").get("_class_name", classes[0])
        if kind not in classes:
            raise Unloadable(f"it is a {kind}: only {' and '.join(classes)} are served")
        refuse_quantized_config(read_json(path, "config.json"), "it")
        for file in weight_files(path, _STEM, variant):
            refuse_quantized_weights("it", read_header(path, file).tensors)


def _derive_config(file: Path) -> Config:
    return derive_config(read_header(file.parent, file).tensors) or {}


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn any error of the block into one sentence about ``what``."""
    try:
        yield
    except Unloadable as error:
        raise ModelFailed(f"{what} cannot be loaded: {error}") from None
    except OSError as error:
        raise ModelFailed(f"{what} cannot be loaded: {error.filename}: {error.strerror}") from None


def _check_folder(path: Path, variant: str | None) -> None:
    _refuse_if_not_a_pipeline(path)
    index = read_json(path, "model_index.json")
    facts = _family(index)
    _check_configs(path, facts, index)
    read_json(path, "scheduler/scheduler_config.json")
    _check_weights(path, facts, facts.parts_of(index), variant)


def _check_weights(path: Path, facts: FamilyFacts, parts: Iterable[str], variant: str | None) -> None:
    """Check the files of those parts of a folder."""
    stems = {part: _ENCODER_STEM if part in facts.tokenizers else _STEM for part in parts}
    if variant and not any(has_files(path / part, stem, variant) for part, stem in stems.items()):
        raise Unloadable(f"no part of it has files of variant {variant!r}")
    for part, stem in stems.items():
        for file in weight_files(path / part, stem, variant):
            refuse_quantized_weights(part, read_header(path, file).tensors)


def _family(index: dict[str, Any]) -> FamilyFacts:
    """The family of a model with this ``model_index.json``; raises `Unloadable` if it is not served."""
    name = str(index.get("_class_name"))
    facts = family_of_pipeline(name)
    if facts is None:
        raise Unloadable(f"it is a {name.removesuffix('Pipeline')}: that family is not served")
    if why := facts.folder_problem(index):
        raise Unloadable(why)
    return facts


def _check_configs(folder: Path, facts: FamilyFacts, index: dict[str, Any]) -> None:
    for part in facts.parts_of(index):
        config = read_json(folder, f"{part}/config.json")
        refuse_quantized_config(config, part)
        if part in facts.tokenizers:
            check_tokenizer(folder, facts.tokenizers[part], config)


def _refuse_if_not_a_pipeline(path: Path) -> None:
    if (path / "model_index.json").is_file():
        return
    _refuse_if_lora(path)
    if (path / "config.json").is_file():
        kind = str(read_json(path, "config.json").get("_class_name", "single part"))
        raise Unloadable(f"it is a {kind}, not a base model: it has no model_index.json")
    raise Unloadable("it is not a diffusers folder: it has no model_index.json")


def _refuse_if_lora(path: Path) -> None:
    if any((path / name).is_file() for name in ("pytorch_lora_weights.safetensors", "adapter_config.json")):
        raise Unloadable(f"it is {_LORA}")


def _check_single_file(path: Path, options: LoadOptions) -> None:
    config = options.config
    names = _read_names(path)
    facts = family_of_file(names)
    if facts is None:
        raise Unloadable(f"it is {_kind_of(names)}, not a base model that is served")
    if why := facts.checkpoint_error(names):
        raise Unloadable(why)
    own = facts.file_parts(names)
    others = [part for part in facts.parts if part not in own]
    has_no_tokenizers = isinstance(facts, TransformerFacts)
    if config is None:
        if others or has_no_tokenizers:
            lacking = f"it has the {' and the '.join(own)} alone"
            needed = " and ".join(others) or "its configs and tokenizers"
            raise Unloadable(f"{lacking}: its catalog key config must name a folder with {needed}")
        return
    index = read_json(Path(config), "model_index.json")
    described = _family(index)
    if (described.parts, described.controlnet_classes) != (facts.parts, facts.controlnet_classes):
        raise Unloadable(f"its config folder {config} describes another family, {described.label}")
    if absent := [part for part in own if part not in described.parts_of(index)]:
        raise Unloadable(f"it has a {absent[0]}, and its config folder {config} says that there is none")
    _check_configs(Path(config), described, index)
    if others or has_no_tokenizers:
        read_json(Path(config), "scheduler/scheduler_config.json")
        there = [part for part in described.parts_of(index) if part in others]
        if there:
            _check_weights(Path(config), described, there, options.variant)


def _read_names(path: Path) -> list[str]:
    if path.suffix != SINGLE_FILE and path.exists():
        detail = f"is neither a folder nor a {SINGLE_FILE} file; pickled files are not read"
        raise Unloadable(f"{path.name} {detail}")
    tensors = read_header(path.parent, path).tensors
    refuse_quantized_weights("it", tensors)
    return list(tensors)


def _kind_of(names: list[str]) -> str:
    if family_of_file(names) is not None:
        return _BASE_MODEL
    if family_of_controlnet_file(names) is not None:
        return _CONTROLNET
    return next((kind for kind, own in _OTHERS.items() if contains_any(names, own)), "something unknown")
