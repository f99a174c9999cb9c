"""How many bytes of residuals a step of a catalog's jobs sends: from configs alone, nothing is loaded."""

from collections.abc import Iterable
from pathlib import Path

from shared.catalog.entries import Catalog, Dtype
from shared.catalog.model_families import ModelFamilies
from shared.families.base import Config, FamilyFacts

ITEM_BYTES: dict[Dtype, int] = {"float32": 4, "float16": 2, "bfloat16": 2}


def step_bytes(
    facts: FamilyFacts,
    controlnet: Config,
    base: Config,
    *,
    size: tuple[int, int],
    dtype: Dtype = "bfloat16",
    rows: int = 1,
) -> int | None:
    """What a ControlNet sends for one step of ``rows`` rows; ``size`` is (width, height) in px.

    The configs are of the ControlNet and of the base model's denoiser. Several ControlNets of one job that
    one worker computes send no more than one: their residuals are summed. None: it is not known.
    """
    elements = facts.residual_elements(controlnet, base, size)
    return None if elements is None else elements * rows * ITEM_BYTES[dtype]


def guided_rows(facts: FamilyFacts) -> int:
    """Rows of a step that ControlNets are asked for, of one image with guidance."""
    return 2 if facts.guidance_batches == "one_batch" else 1


def largest_step_bytes(catalog: Catalog, path: Path, controlnets: Iterable[str]) -> int:
    """The most that one of these ControlNets of the catalog at ``path`` sends for a guided image of its base
    model's own size; 0 if nothing is known of them."""
    families = ModelFamilies(path, catalog)
    found = (
        _guided_step_bytes(name, model, catalog, families)
        for name in controlnets
        for model in catalog.controlnets[name].models
    )
    return max((size for size in found if size is not None), default=0)


def largest_step_bytes_of_models(catalog: Catalog, path: Path, models: Iterable[str]) -> int:
    """The same of all ControlNets that fit one of the models: a UNet worker receives no more for its jobs,
    and serves no others."""
    names = {name for model in models for name in catalog.controlnets_of(model)}
    return largest_step_bytes(catalog, path, names)


def _guided_step_bytes(name: str, model: str, catalog: Catalog, families: ModelFamilies) -> int | None:
    """None: nothing is known of hub ids, and of single files whose config nobody has."""
    entry = catalog.controlnets[name]
    facts, config = families.facts(model), families.controlnet_config(name)
    base, size = families.denoiser_config(model), families.usual_size(model)
    if facts is None or config is None or base is None or size is None:
        return None
    dtype = entry.dtype or catalog.models[model].dtype
    return step_bytes(facts, config, base, size=size, dtype=dtype, rows=guided_rows(facts))
