"""What of a job depends on the family of its model, and what is known of that model."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.families.base import Config, FamilyFacts, Mode
from shared.jobs.options import JobOptions
from shared.jobs.spec import JobSpec


class AskedJob(NamedTuple):
    """A job, asked for or accepted."""

    options: JobOptions
    mode: Mode
    controlnets: Sequence[str]  # their names
    scheduler: str
    guidance_scale: float
    sides: Mapping[str, int | None]  # width and height in px

    @property
    def has_controlnets(self) -> bool:
        """Whether any guide it."""
        return bool(self.controlnets)

    @classmethod
    def of(cls, spec: JobSpec) -> "AskedJob":
        """An accepted job."""
        return cls(
            options=spec,
            mode=mode_of(spec.image, spec.mask_image),
            controlnets=[controlnet.name for controlnet in spec.controlnets],
            scheduler=spec.scheduler,
            guidance_scale=spec.guidance_scale,
            sides={"width": spec.width, "height": spec.height},
        )


class KnownModel(NamedTuple):
    """A job's model, of a family that is known."""

    name: str
    facts: FamilyFacts
    described: str  # what an error text calls its family: `ModelSignature` or `FamilyFacts.label`
    scheduler_config: Config | None  # None: not known
    is_inpainting: bool = False  # see `FamilyFacts`
    missing_parts: frozenset[str] = frozenset()  # of `FamilyFacts.optional_parts`, as far as they are known

    @property
    def named(self) -> str:
        """The model in an error text."""
        return f"model {self.name!r} ({self.facts.label})"


def mode_of(image: str | None, mask_image: str | None) -> Mode:
    """What a job with these images generates from."""
    if image is None:
        return "text"
    return "image" if mask_image is None else "mask"
