"""The scheduler of a loaded model, with the options that its catalog entry sets."""

from collections.abc import Mapping
from typing import Any

from shared.catalog.scheduler_options import find_wrong_option
from shared.families.base import FamilyFacts
from workers.model_checks.weight_files import Unloadable

#: The key of a config under which diffusers lists the options that nobody has set.
_DEFAULTS = "_use_default_values"


def with_options(scheduler: Any, options: Mapping[str, Any], facts: FamilyFacts) -> Any:
    """The same with the options in its config; raises `Unloadable` for one that does not fit.

    An option that this class has not stays in its config, for another that a job asks for: diffusers'
    ``from_config(config, **options)`` would leave it out.
    """
    if not options:
        return scheduler
    described = {**scheduler.config, "_class_name": type(scheduler).__name__}
    if wrong := find_wrong_option(options, described, facts):
        raise Unloadable(f"scheduler_config.{wrong[0]} {wrong[1]}")
    config = {**scheduler.config, **options}
    # What the model's files do not name, diffusers sets to the default of whatever class it makes
    config[_DEFAULTS] = [name for name in config.get(_DEFAULTS, ()) if name not in options]
    return type(scheduler).from_config(config)
