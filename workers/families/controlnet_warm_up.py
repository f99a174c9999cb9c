"""Runs a ControlNet as the usual jobs of its base model do, before the first one."""

from shared.catalog.entries import Catalog
from shared.catalog.model_families import ModelFamilies
from shared.settings import Settings
from workers.families.base_controlnet import ControlNet
from workers.runtime.warm_up import ROUNDS, WarmUp


def usual_step(catalog: Catalog, settings: Settings, controlnet: str) -> tuple[tuple[int, int], int] | None:
    """Size in px, (width, height), and rows of a step of its first base model; ``None``: not known before
    that is loaded."""
    name = catalog.controlnets[controlnet].models[0]
    model = catalog.models[name]
    size = ModelFamilies(settings.catalog, catalog).usual_size(name)
    return None if size is None else (size, 2 if model.guidance_scale > 1 else 1)


def warm_up_controlnet(controlnet: ControlNet, size: tuple[int, int], rows: int, warm_up: WarmUp) -> None:
    """Compute `ROUNDS` steps of zeros."""
    for _ in range(ROUNDS):
        controlnet.warm_up(size, rows)
        warm_up.note_part()
