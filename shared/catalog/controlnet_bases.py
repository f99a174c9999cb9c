"""Whether a ControlNet, which is loaded once, can guide each of the base models of its catalog entry."""

from typing import NamedTuple

from shared.catalog.entries import ControlNetEntry, ModelEntry
from shared.families.base import Config
from shared.families.registry import family_of_controlnet


class Base(NamedTuple):
    """A base model of a ControlNet's entry."""

    name: str
    entry: ModelEntry
    config: Config | None  # of its denoiser; None: not known here


def sharing_problem(name: str, entry: ControlNetEntry, config: Config, first: Base, base: Base) -> str | None:
    """Why the ControlNet of that config, loaded for the ``first`` of its base models, cannot guide ``base``.

    None: it can, as far as that is known.
    """
    facts = family_of_controlnet(config)
    if facts is None:
        return None
    dtype = entry.dtype or first.entry.dtype
    if facts.controlnet_layers and dtype != base.entry.dtype:
        why = f"is of {dtype}, its model {base.name!r}, whose layers it uses, of {base.entry.dtype}"
        return f"ControlNet {name!r} {why}: they must agree"
    if base.name == first.name:
        return None
    both, each = f"its models {first.name!r} and {base.name!r}", "give each model its own entry"
    if facts.keeps_base_layer(config) and base.entry.source != first.entry.source:
        return f"ControlNet {name!r} keeps a layer of one base model, and {both} differ in it: {each}"
    if first.config is None or base.config is None:
        return None
    wanted = [facts.control_plan(config, one.config).wanted for one in (first, base)]
    if wanted[0] != wanted[1]:
        return f"{both[0].upper()}{both[1:]} do not read the same residuals of ControlNet {name!r}: {each}"
    return None
