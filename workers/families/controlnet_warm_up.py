"""Runs a ControlNet as the usual jobs of its base model do, before the first one."""

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.catalog.step_bytes import guided_rows
from shared.settings import Settings
from workers.families.base_controlnet import ControlNet
from workers.runtime.warm_up import ROUNDS, WarmUp


def usual_step(catalog: Catalog, settings: Settings, controlnet: str) -> tuple[tuple[int, int], int] | None:
    """Size in px, (width, height), and rows of a step of its first base model; ``None``: not known before
    that is loaded."""
    name = catalog.controlnets[controlnet].models[0]
    families = ModelFamilies(settings.catalog, catalog)
    facts, size = families.facts(name), families.usual_size(name)
    if facts is None or size is None:
        return None
    guidance_scale = catalog.models[name].guidance_scale
    is_guided = facts.is_guided(guidance_scale, None, has_negative_prompt=False)
    return size, guided_rows(facts) if is_guided else 1


def warm_up_controlnet(controlnet: ControlNet, size: tuple[int, int], rows: int, warm_up: WarmUp) -> None:
    """Compute `ROUNDS` steps of zeros."""
    for _ in range(ROUNDS):
        controlnet.warm_up(size, rows)
        warm_up.note_part()
