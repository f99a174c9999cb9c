"""How many bytes of residuals a step of a catalog's jobs sends: from configs alone, nothing is loaded."""

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
    numbers = facts.residual_numbers(controlnet, base, size)
    return None if numbers is None else numbers * rows * ITEM_BYTES[dtype]


def guided_rows(facts: FamilyFacts) -> int:
    """Rows of a step that ControlNets are asked for, of one image with guidance."""
    return 2 if facts.guidance_batches == "one_batch" else 1


def controlnet_step_bytes(name: str, catalog: Catalog, families: ModelFamilies) -> int | None:
    """The same of a ControlNet of the catalog: one image with guidance, of its first base model's own size.

    None: nothing is known of hub ids and single files.
    """
    entry = catalog.controlnets[name]
    model = entry.models[0]
    facts, config = families.facts(model), families.controlnet_config(name)
    base, size = families.denoiser_config(model), families.usual_size(model)
    if facts is None or config is None or base is None or size is None:
        return None
    dtype = entry.dtype or catalog.models[model].dtype
    return step_bytes(facts, config, base, size=size, dtype=dtype, rows=guided_rows(facts))


def largest_step_bytes(catalog: Catalog, path: Path) -> int:
    """The most of all ControlNets of the catalog at ``path``, as far as it is known; 0 without any."""
    families = ModelFamilies(path, catalog)
    found = (controlnet_step_bytes(name, catalog, families) for name in catalog.controlnets)
    return max((size for size in found if size is not None), default=0)
