"""Whether a family's networks can be run as catalog entries say: an option without effect is refused."""

from shared.catalog.entries import ControlNetEntry, ModelEntry
from shared.families.base import Config, FamilyFacts
from shared.jobs.families.controlnet_masks import UNUSED_RANGE

#: Options that networks of some families alone have.
LIMITED_OPTIONS = ("attention_slicing", "memory_format")


def option_problem(facts: FamilyFacts, entry: ModelEntry | ControlNetEntry) -> str | None:
    """Why a network of the family cannot be run so, as the end of a sentence; None: it can."""
    if entry.engine not in facts.engines:
        known = " or ".join(repr(name) for name in sorted(facts.engines))
        return f"engine {entry.engine!r} does not run {facts.label}; say {known}, or leave it out"
    fields = type(entry).model_fields
    for option in LIMITED_OPTIONS:
        if option not in fields or option in facts.entry_options:
            continue
        if (value := getattr(entry, option)) != fields[option].default:
            return f"{option} {value!r} changes nothing of {facts.label}: leave it out"
    return None


def controlnet_option_problem(facts: FamilyFacts, entry: ControlNetEntry, config: Config) -> str | None:
    """The same of a ControlNet of the family with this config."""
    if entry.control_range is not None and facts.controlnet_traits(config).mask == "required":
        return UNUSED_RANGE
    return option_problem(facts, entry)
