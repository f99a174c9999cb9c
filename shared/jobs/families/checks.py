"""Whether the family of a model has what a job asks of it: asked by the web, and by the worker again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from shared.catalog.schedulers import SCHEDULERS, schedulers_of
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts, Mode
from shared.families.registry import families
from shared.jobs.options import JobOptions
from shared.jobs.spec import JobSpec

_NEGATIVE = ("negative_prompt", "negative_prompt_2", "negative_prompt_3")
#: What an error text calls a job of each mode.
_MODES: Mapping[Mode, str] = {"text": "texts alone", "image": "an image", "mask": "an image and a mask"}


class AskedJob(NamedTuple):
    """What of a job depends on the family of its model."""

    model: str  # its name, for error texts
    options: JobOptions
    mode: Mode
    has_controlnets: bool
    scheduler: str
    guidance_scale: float
    sides: Mapping[str, int | None]  # width and height in px

    @classmethod
    def of(cls, spec: JobSpec) -> "AskedJob":
        """An accepted job."""
        return cls(
            model=spec.model,
            options=spec,
            mode=mode_of(spec.image, spec.mask_image),
            has_controlnets=bool(spec.controlnets),
            scheduler=spec.scheduler,
            guidance_scale=spec.guidance_scale,
            sides={"width": spec.width, "height": spec.height},
        )


def mode_of(image: str | None, mask_image: str | None) -> Mode:
    """What a job with these images generates from."""
    if image is None:
        return "text"
    return "image" if mask_image is None else "mask"


def check_job(job: AskedJob, facts: FamilyFacts, described: str) -> None:
    """Raise `InvalidRequest` for the first field that asks for what the family does not have.

    ``described`` is what an error text calls the model's family, `ModelSignature` or `FamilyFacts.label`.
    """
    _check_mode(job, facts)
    _check_fields(job, facts, described)
    _check_syntax(job, facts)
    _check_sides(job, facts)
    _check_scheduler(job, facts)
    _check_guidance(job, facts)
    tokens, asked = facts.text_tokens, job.options.max_sequence_length
    if tokens is not None and asked is not None and asked > tokens.limit:
        detail = f"max_sequence_length is {asked}; {facts.label} reads at most {tokens.limit} tokens"
        raise InvalidRequest(detail, field="max_sequence_length")


def _check_mode(job: AskedJob, facts: FamilyFacts) -> None:
    if job.mode not in facts.modes:
        detail = f"model {job.model!r} ({facts.label}) generates from {_listed(facts.modes)}"
        raise InvalidRequest(detail, field="mask_image" if job.mode == "mask" else "image")
    if job.has_controlnets and job.mode not in facts.controlnet_modes:
        modes = _listed(facts.controlnet_modes)
        detail = f"ControlNets of {facts.label} guide jobs from {modes}: model {job.model!r} is one"
        raise InvalidRequest(detail, field="controlnets")


def _listed(modes: Iterable[Mode]) -> str:
    return " or ".join(words for mode, words in _MODES.items() if mode in modes)


def _check_fields(job: AskedJob, facts: FamilyFacts, described: str) -> None:
    asked = job.options.limited_fields
    refused = [name for name in asked if name not in facts.fields]
    if refused:
        who_take = takers_of(refused[0])
        same = [name for name in refused if takers_of(name) == who_take]
        detail = f"only {who_take} {', '.join(same)}; model {job.model!r} is {described}"
        raise InvalidRequest(detail, field=refused[0])
    taken = facts.fields_in(job.mode, has_controlnets=job.has_controlnets)
    for name in asked:
        if name not in taken:
            raise InvalidRequest(f"{_who(job, facts)} takes no {name}{_where(job)}", field=name)


def _check_syntax(job: AskedJob, facts: FamilyFacts) -> None:
    syntax = job.options.prompt_syntax
    if syntax not in facts.prompt_syntaxes:
        known = labels(other for other in families() if syntax in other.prompt_syntaxes)
        detail = f"prompt_syntax {syntax!r} is known to {known}; model {job.model!r} is {facts.label}"
        raise InvalidRequest(detail, field="prompt_syntax")


def _check_sides(job: AskedJob, facts: FamilyFacts) -> None:
    for side, value in job.sides.items():
        if value is not None and value % facts.size_multiple:
            detail = f"{side} is {value}; of {facts.label} it must be a multiple of {facts.size_multiple}"
            raise InvalidRequest(detail, field=side)


def _check_scheduler(job: AskedJob, facts: FamilyFacts) -> None:
    schedulers = schedulers_of(facts)
    if job.scheduler not in schedulers:
        known = ", ".join(schedulers)
        detail = f"scheduler {job.scheduler!r} is not for {facts.label}; model {job.model!r} takes {known}"
        raise InvalidRequest(detail, field="scheduler")
    if job.has_controlnets and job.scheduler in facts.unused_with_controlnets:
        detail = f"scheduler {job.scheduler!r} is not for {_who(job, facts)} with ControlNets"
        raise InvalidRequest(detail, field="scheduler")
    if job.mode != "text" and not SCHEDULERS[job.scheduler].begins_from_image:
        known = ", ".join(name for name in schedulers if SCHEDULERS[name].begins_from_image)
        detail = f"scheduler {job.scheduler!r} does not begin from an image; these do: {known}"
        raise InvalidRequest(detail, field="scheduler")


def _check_guidance(job: AskedJob, facts: FamilyFacts) -> None:
    """A negative prompt that no branch reads, and a scale of a branch that has no text."""
    if not facts.refuses_unread_prompts:
        return
    options = job.options
    negative = [name for name in _NEGATIVE if getattr(options, name) is not None]
    if facts.guidance_begins_above is not None:
        if negative and job.guidance_scale <= facts.guidance_begins_above:
            least = f"a guidance_scale above {facts.guidance_begins_above:g}; it is {job.guidance_scale:g}"
            raise _unread(job, facts, negative, least)
        return
    if "true_cfg_scale" not in facts.fields_in(job.mode, has_controlnets=job.has_controlnets):
        if negative:
            detail = f"{_who(job, facts)} takes no negative prompt{_where(job)}"
            raise InvalidRequest(detail, field=negative[0])
        return
    asked = options.true_cfg_scale
    scale = facts.true_cfg_scale if asked is None else asked
    if negative and scale <= 1:
        raise _unread(job, facts, negative, f"a true_cfg_scale above 1; it is {scale:g}")
    if options.negative_prompt is None and (negative or (asked is not None and asked > 1)):
        field = negative[0] if negative else "true_cfg_scale"
        detail = f"{field} of {_who(job, facts)} needs a negative_prompt; it may be empty"
        raise InvalidRequest(detail, field=field)


def _unread(job: AskedJob, facts: FamilyFacts, negative: Sequence[str], least: str) -> InvalidRequest:
    return InvalidRequest(f"{_who(job, facts)} reads a negative prompt only with {least}", field=negative[0])


def _who(job: AskedJob, facts: FamilyFacts) -> str:
    return f"model {job.model!r} ({facts.label})"


def _where(job: AskedJob) -> str:
    controlnets = " and ControlNets" if job.has_controlnets else ""
    return f" with {_MODES[job.mode]}{controlnets}"


def takers_of(field: str) -> str:
    """The families that take a field, and the verb."""
    return takers(facts for facts in families() if field in facts.fields)


def takers(families: Iterable[FamilyFacts]) -> str:
    """Families as the subject of a sentence, and the verb "take"."""
    names = labels(families)
    return f"{names} take{'' if ' and ' in names else 's'}"


def labels(families: Iterable[FamilyFacts]) -> str:
    """Families in a sentence."""
    *others, last = dict.fromkeys(facts.label for facts in families)
    return f"{', '.join(others)} and {last}" if others else last
