"""Whether the family of a model has what a job asks of it: asked by the web, and by the worker again."""

from collections.abc import Sequence

from shared.catalog.schedulers import SCHEDULERS, schedulers_of, shift_problem
from shared.errors import InvalidRequest
from shared.families.registry import families
from shared.jobs.families.asked_job import AskedJob, KnownModel
from shared.jobs.families.controlnet_checks import check_controlnets
from shared.jobs.families.model_limits import lacks_mu, modes_of, unused_fields
from shared.jobs.families.words import MODE_WORDS, labels, modes_in_words, takers_of

_NEGATIVE = ("negative_prompt", "negative_prompt_2", "negative_prompt_3")


def check_job(job: AskedJob, model: KnownModel) -> None:
    """Raise `InvalidRequest` for the first field that asks for what the model or its family does not have."""
    facts = model.facts
    if job.mode not in facts.modes:
        field = "mask_image" if job.mode == "mask" else "image"
        raise InvalidRequest(f"{model.named} generates from {modes_in_words(facts.modes)}", field=field)
    check_controlnets(job, model)
    _check_fields(job, model)
    _check_syntax(job, model)
    _check_sides(job, model)
    _check_scheduler(job, model)
    _check_guidance(job, model)
    _check_shift(job, model)
    tokens, asked = facts.text_tokens, job.options.max_sequence_length
    if tokens is not None and asked is not None and asked > tokens.limit:
        detail = f"max_sequence_length is {asked}; {facts.label} reads at most {tokens.limit} tokens"
        raise InvalidRequest(detail, field="max_sequence_length")
    if job.mode not in modes_of(model):
        detail = f"model {model.name!r} was trained to inpaint: it needs an image and a mask_image"
        raise InvalidRequest(detail, field="mask_image")


def _check_fields(job: AskedJob, model: KnownModel) -> None:
    facts, asked = model.facts, job.options.limited_fields
    refused = [name for name in asked if name not in facts.fields]
    if refused:
        who_take = takers_of(refused[0])
        same = [name for name in refused if takers_of(name) == who_take]
        detail = f"only {who_take} {', '.join(same)}; model {model.name!r} is {model.described}"
        raise InvalidRequest(detail, field=refused[0])
    taken, unused = facts.fields_in(job.mode, has_controlnets=job.has_controlnets), unused_fields(model)
    for name in asked:
        if name in unused:
            raise InvalidRequest(unused[name], field=name)
        if name not in taken:
            raise InvalidRequest(f"{model.named} takes no {name}{_where(job)}", field=name)


def _check_syntax(job: AskedJob, model: KnownModel) -> None:
    facts, syntax = model.facts, job.options.prompt_syntax
    if syntax not in facts.prompt_syntaxes:
        known = labels(other for other in families() if syntax in other.prompt_syntaxes)
        detail = f"prompt_syntax {syntax!r} is known to {known}; model {model.name!r} is {facts.label}"
        raise InvalidRequest(detail, field="prompt_syntax")


def _check_sides(job: AskedJob, model: KnownModel) -> None:
    facts = model.facts
    for side, value in job.sides.items():
        if value is not None and value % facts.size_multiple:
            detail = f"{side} is {value}; of {facts.label} it must be a multiple of {facts.size_multiple}"
            raise InvalidRequest(detail, field=side)


def _check_scheduler(job: AskedJob, model: KnownModel) -> None:
    facts, schedulers = model.facts, schedulers_of(model.facts, model.scheduler_config)
    if job.scheduler not in schedulers:
        known = f"model {model.name!r} takes {', '.join(schedulers)}"
        detail = f"scheduler {job.scheduler!r} is not for {facts.label}; {known}"
        if job.scheduler in schedulers_of(facts):
            why = shift_problem(job.scheduler, facts, model.scheduler_config)
            detail = f"scheduler {job.scheduler!r} is not for {model.named}: {why}; {known}"
        raise InvalidRequest(detail, field="scheduler")
    if job.has_controlnets and job.scheduler in facts.unused_with_controlnets:
        detail = f"scheduler {job.scheduler!r} is not for {model.named} with ControlNets"
        raise InvalidRequest(detail, field="scheduler")
    begins_with_noise = facts.begins_with_noise(job.mode, has_controlnets=job.has_controlnets)
    if not begins_with_noise and not SCHEDULERS[job.scheduler].begins_from_image:
        known = ", ".join(name for name in schedulers if SCHEDULERS[name].begins_from_image)
        detail = f"scheduler {job.scheduler!r} does not begin from an image; these do: {known}"
        raise InvalidRequest(detail, field="scheduler")


def _check_guidance(job: AskedJob, model: KnownModel) -> None:
    """A negative prompt that no branch reads, and a scale of a branch that has no text."""
    facts = model.facts
    if not facts.refuses_unread_prompts:
        return
    options = job.options
    negative = [name for name in _NEGATIVE if getattr(options, name) is not None]
    if facts.guidance_begins_above is not None:
        if negative and job.guidance_scale <= facts.guidance_begins_above:
            least = f"a guidance_scale above {facts.guidance_begins_above:g}; it is {job.guidance_scale:g}"
            raise _unread(model, negative, least)
        return
    if "true_cfg_scale" not in facts.fields_in(job.mode, has_controlnets=job.has_controlnets):
        if negative:
            detail = f"{model.named} takes no negative prompt{_where(job)}"
            raise InvalidRequest(detail, field=negative[0])
        return
    asked = options.true_cfg_scale
    scale = facts.true_cfg_scale if asked is None else asked
    if negative and scale <= 1:
        raise _unread(model, negative, f"a true_cfg_scale above 1; it is {scale:g}")
    if options.negative_prompt is None and (negative or (asked is not None and asked > 1)):
        field = negative[0] if negative else "true_cfg_scale"
        detail = f"{field} of {model.named} needs a negative_prompt; it may be empty"
        raise InvalidRequest(detail, field=field)


def _check_shift(job: AskedJob, model: KnownModel) -> None:
    """ControlNets, where no pipeline can give the scheduler its shift."""
    if job.has_controlnets and lacks_mu(model, job.mode):
        detail = f"the scheduler of {model.named} shifts by the image's size: diffusers cannot do that"
        raise InvalidRequest(f"{detail} with ControlNets", field="controlnets")


def _unread(model: KnownModel, negative: Sequence[str], least: str) -> InvalidRequest:
    return InvalidRequest(f"{model.named} reads a negative prompt only with {least}", field=negative[0])


def _where(job: AskedJob) -> str:
    controlnets = " and ControlNets" if job.has_controlnets else ""
    return f" with {MODE_WORDS[job.mode]}{controlnets}"
