"""The scheduler of a loaded model, with the options that its catalog entry sets."""

from collections.abc import Mapping
from typing import Any

from shared.catalog.scheduler_options import find_wrong_option
from shared.families.base import FamilyFacts
from workers.model_checks.weight_files import Unloadable


def with_options(scheduler: Any, options: Mapping[str, Any], facts: FamilyFacts) -> Any:
    """As ``CLASS.from_config(config, **options)`` makes it; raises `Unloadable` for one that does not fit.

    An option that this class has not stays in its config, for another that a job asks for.
    """
    if not options:
        return scheduler
    if wrong := find_wrong_option(options, scheduler.config, facts):
        raise Unloadable(f"scheduler_config.{wrong[0]} {wrong[1]}")
    return type(scheduler).from_config({**scheduler.config, **options})
