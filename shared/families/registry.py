"""Which model families there are, and which of them a model's files belong to.

A new family is one entry in `BUILT_IN`, and one in `workers.families.registry`. Tests add their own with
`registered`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from shared.families.base import Config, FamilyFacts
from shared.families.flux import FLUX
from shared.families.qwen_image import QWEN_IMAGE
from shared.families.sd3 import SD3
from shared.families.unet import SD1, SD2, SDXL
from shared.families.z_image import Z_IMAGE

#: In the order in which they are asked whether a config is theirs.
BUILT_IN: tuple[FamilyFacts, ...] = (SDXL, SD2, SD1, FLUX, SD3, QWEN_IMAGE, Z_IMAGE)
_families: dict[str, FamilyFacts] = {facts.name: facts for facts in BUILT_IN}


def families() -> tuple[FamilyFacts, ...]:
    """All families."""
    return tuple(_families.values())


def names() -> list[str]:
    """Their names, sorted."""
    return sorted(_families)


def named(name: str) -> FamilyFacts | None:
    """The family of that name."""
    return _families.get(name)


@contextmanager
def registered(facts: FamilyFacts) -> Iterator[None]:
    """Within the block there is one more family; one of the same name must not exist."""
    assert facts.name not in _families, f"family {facts.name!r} is there already"
    _families[facts.name] = facts
    try:
        yield
    finally:
        del _families[facts.name]


def family_of(configs: Mapping[str, Config]) -> FamilyFacts | None:
    """The family of a base model, by the configs of the parts that are there, by part."""
    for facts in families():
        config = configs.get(facts.denoiser)
        if config is not None and facts.is_family_of(config):
            return facts
    return None


def family_of_controlnet(config: Config) -> FamilyFacts | None:
    """The family of a ControlNet, by its config."""
    for facts in families():
        kind = config.get("_class_name", facts.controlnet_classes[0])
        if kind in facts.controlnet_classes and facts.is_family_of(config):
            return facts
    return None


def family_of_pipeline(name: str) -> FamilyFacts | None:
    """A family of which models are saved as the pipeline class ``name``; several may have the same parts."""
    kind = name.removesuffix("Pipeline")
    return next((facts for facts in families() if kind in facts.pipelines), None)


def family_of_file(weights: Sequence[str]) -> FamilyFacts | None:
    """The family of a single file, by the names of its weights."""
    return next((facts for facts in families() if facts.is_family_of_file(weights)), None)


def family_of_controlnet_file(weights: Sequence[str]) -> FamilyFacts | None:
    """The family of a ControlNet in a single file, by the names of its weights."""
    return next((facts for facts in families() if facts.is_family_of_controlnet_file(weights)), None)


def denoisers() -> tuple[str, ...]:
    """The folders in which a base model's denoiser may lie."""
    return tuple(dict.fromkeys(facts.denoiser for facts in families()))


def controlnet_classes() -> tuple[str, ...]:
    """The classes that ControlNets are saved as."""
    return tuple(dict.fromkeys(kind for facts in families() for kind in facts.controlnet_classes))


def lora_parts() -> frozenset[str]:
    """The parts of models that LoRAs may train."""
    return frozenset(part for facts in families() for part in facts.lora_parts)
