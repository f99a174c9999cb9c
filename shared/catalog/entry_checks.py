"""Checks what the catalog says of each base model against the model's own configs and the settings."""

from pathlib import Path

from shared.catalog.entries import Catalog, ModelEntry
from shared.catalog.error_messages import CatalogErrors
from shared.catalog.model_families import ModelFamilies
from shared.catalog.scheduler_aliases import canonical_name
from shared.catalog.scheduler_options import find_wrong_option
from shared.catalog.schedulers import SCHEDULERS, schedulers_of, shift_problem, step_limits
from shared.families.base import Config, FamilyFacts
from shared.settings import Settings
from shared.validation_messages import nearest, quoted


def check_models(path: Path, catalog: Catalog, errors: CatalogErrors, settings: Settings | None) -> None:
    """Check each model's scheduler options, and its defaults against the limits that hold for a job."""
    families = ModelFamilies(path, catalog)
    for name, model in catalog.models.items():
        if model.scheduler not in SCHEDULERS:
            meant = canonical_name(model.scheduler)
            near = meant if meant in SCHEDULERS else nearest(model.scheduler, SCHEDULERS)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(SCHEDULERS)}"
            why = f"{quoted(model.scheduler)} is unknown; {hint}"
            raise errors.at(("models", name, "scheduler"), why)
        _check_scheduler_options(name, model, families, errors)
        scheduler_config, facts = families.scheduler_config(name), families.facts(name)
        _check_fits_family(name, model, facts, scheduler_config, errors)
        sets_begin_index = facts is not None and facts.sets_begin_index(has_controlnets=False)
        own = step_limits(model.scheduler, scheduler_config, sets_begin_index=sets_begin_index)
        limits = [("num_inference_steps", own.max_steps, f"scheduler {model.scheduler}")]
        largest = families.largest_side(name)
        if largest is not None:
            limits += [(side, largest, "the model") for side in ("width", "height")]
        if settings is not None:
            limits += [(side, settings.max_side_px, "SWIFT_MAX_SIDE_PX") for side in ("width", "height")]
            if "num_inference_steps" in model.model_fields_set:  # a family's default is cut for each job
                limits.append(("num_inference_steps", settings.max_steps, "SWIFT_MAX_STEPS"))
        for field, limit, whose in limits:
            value = getattr(model, field)
            if value is not None and value > limit:
                raise errors.at(("models", name, field), f"is {value}; {whose} allows at most {limit}")
        if model.num_inference_steps < own.min_steps:
            least = f"scheduler {model.scheduler} takes at least {own.min_steps}"
            why = f"is {model.num_inference_steps}; {least}"
            raise errors.at(("models", name, "num_inference_steps"), why)


def _check_scheduler_options(
    name: str, model: ModelEntry, families: ModelFamilies, errors: CatalogErrors
) -> None:
    """Check names and values of options; of a model whose files are not known here, its worker does."""
    facts, own = families.facts(name), families.own_scheduler_config(name)
    wrong = facts and own is not None and find_wrong_option(model.scheduler_config, own, facts)
    if wrong:
        option, why = wrong
        raise errors.at(("models", name, "scheduler_config", option), why)


def _check_fits_family(
    name: str,
    model: ModelEntry,
    facts: FamilyFacts | None,
    scheduler_config: Config | None,
    errors: CatalogErrors,
) -> None:
    """Check the scheduler and the sides of a model's images; nothing of a model whose family is not known."""
    if facts is None:
        return
    schedulers = schedulers_of(facts)
    if model.scheduler not in schedulers:
        why = f"{quoted(model.scheduler)} is not for {facts.label}; it takes {', '.join(schedulers)}"
        raise errors.at(("models", name, "scheduler"), why)
    if problem := shift_problem(model.scheduler, facts, scheduler_config):
        raise errors.at(("models", name, "scheduler"), f"{quoted(model.scheduler)} does not work: {problem}")
    for side in ("width", "height"):
        value = getattr(model, side)
        if value is not None and value % facts.size_multiple:
            why = f"is {value}; of {facts.label} it must be a multiple of {facts.size_multiple}"
            raise errors.at(("models", name, side), why)
