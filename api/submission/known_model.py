"""What is known of a catalog's base model, as the checks of a job ask it."""

from shared.catalog.model_families import ModelFamilies
from shared.jobs.families.asked_job import KnownModel


def known_model(families: ModelFamilies, name: str) -> KnownModel | None:
    """A base model of the catalog; None: its family is not known before it is loaded."""
    facts = families.facts(name)
    if facts is None:
        return None
    return KnownModel(
        name=name,
        facts=facts,
        described=str(families.signature(name)),
        scheduler_config=families.scheduler_config(name),
        is_inpainting=bool(families.is_inpainting(name)),
        missing_parts=families.missing_parts(name),
    )
