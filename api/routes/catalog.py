"""`/v1/models` and `/v1/controlnets`: the catalog, schedulers, preprocessors, and live workers."""

from collections.abc import Sequence
from typing import Any, get_args

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel

from api.json_response import json_response
from api.schemas.catalog import (
    ControlNetCatalogResponse,
    ControlNetList,
    JobDefaultsResponse,
    ModelList,
    ModelResponse,
    OpenAIModel,
    PreprocessorResponse,
    SchedulerResponse,
    StepLimitsResponse,
)
from api.schemas.problems import error_responses
from api.services import Services
from api.submission.known_model import known_model
from shared.catalog.entries import LoadOptions, ModelEntry
from shared.catalog.preprocessors import PREPROCESSORS
from shared.catalog.schedulers import SCHEDULERS, StepLimits, schedulers_of, step_limits
from shared.errors import NotFound
from shared.families.base import MODES, Mode
from shared.families.controlnets import ControlNetTraits, ModelSignature
from shared.jobs.families.asked_job import KnownModel
from shared.jobs.families.model_limits import (
    controlnet_fields_of,
    controlnet_modes_of,
    fields_of,
    modes_of,
)
from shared.jobs.options import MAX_CONTROLNETS
from shared.registry.workers import Heartbeat, WorkerKind, live_workers

#: Limits that hold for every model.
ANY = StepLimits()
SCHEDULER_RESPONSES = [
    SchedulerResponse(
        name=name,
        diffusers_class=kind.name,
        options=kind.options,
        takes=sorted(kind.takes),
        min_steps=ANY.min_steps,
        max_steps=ANY.max_steps,
    )
    for name, kind in SCHEDULERS.items()
]


class ModelPath(BaseModel):
    """Which base model."""

    name: str


#: What of an entry is told otherwise, or not at all.
_OTHERWISE = {"source", "width", "height", "num_inference_steps"}


def add_catalog(api: APIBlueprint, services: Services) -> None:
    """Add the routes of the catalog to ``api``."""
    catalog, control = services.catalog, services.control

    @api.get("/v1/models", summary="List base models", responses={200: ModelList, **error_responses(503)})
    def list_models() -> Response:
        workers = live_workers(control)
        models = [
            ModelResponse(
                name=name,
                default=name == catalog.default_model,
                **entry.model_dump(exclude={*_OTHERWISE, *LoadOptions.model_fields}),
                num_inference_steps=min(entry.num_inference_steps, services.settings.max_steps),
                **_size(entry, services.families.default_size(name)),
                signature=_or_none(services.families.signature(name)),
                **_family(known_model(services.families, name), controlnets),
                scheduler_config=entry.scheduler_config,
                schedulers=_schedulers(services, name),
                defaults=_defaults(services, name, has_controlnets=False),
                controlnet_defaults=_defaults(services, name, has_controlnets=True),
                size_multiple=services.families.size_multiple(name),
                max_side_px=_max_side_px(services, name),
                step_limits=_limits(services, name),
                controlnets=controlnets,
                **_workers("unet", workers, name),
            )
            for name, entry in catalog.models.items()
            for controlnets in [catalog.controlnets_of(name)]
        ]
        data = [OpenAIModel(id=name) for name in catalog.models]
        return json_response(ModelList(models=models, schedulers=SCHEDULER_RESPONSES, data=data))

    @api.get(
        "/v1/models/<name>",
        summary="Read a base model as OpenAI's API names it",
        responses={200: OpenAIModel, **error_responses(404)},
    )
    def read_model(path: ModelPath) -> Response:
        """Everything else about it is in the list."""
        if path.name not in catalog.models:
            raise NotFound(f"there is no model {path.name!r}; known are {', '.join(catalog.models)}")
        return json_response(OpenAIModel(id=path.name))

    @api.get(
        "/v1/controlnets", summary="List ControlNets", responses={200: ControlNetList, **error_responses(503)}
    )
    def list_controlnets() -> Response:
        workers = live_workers(control)
        controlnets = [
            ControlNetCatalogResponse(
                name=name,
                model=entry.models[0],
                models=list(entry.models),
                **_traits(services.families.controlnet(name)),
                modes=_listed_modes(services.families.controlnet_modes(name)),
                **_workers("controlnet", workers, name),
            )
            for name, entry in catalog.controlnets.items()
        ]
        return json_response(ControlNetList(controlnets=controlnets, preprocessors=_preprocessors()))


def _preprocessors() -> list[PreprocessorResponse]:
    return [
        PreprocessorResponse(
            name=name,
            description=kind.__doc__ or "",
            options=kind.model_json_schema().get("properties", {}),
        )
        for name, kind in PREPROCESSORS.items()
    ]


def _family(model: KnownModel | None, controlnets: Sequence[str]) -> dict[str, Any]:
    """What a model with these ControlNets takes: of one whose family is not known before it is loaded,
    everything."""
    facts = model and model.facts
    modes, controlnet_modes = (modes_of(model), controlnet_modes_of(model)) if model else (MODES, MODES)
    tokens, limit = (facts.text_tokens, facts.max_controlnets) if facts else (None, None)
    return {
        "family": facts and facts.name,
        "fields": model and sorted(fields_of(model) - (set() if controlnets else {"guess_mode"})),
        "prompt_syntaxes": facts and sorted(facts.prompt_syntaxes),
        "modes": _listed_modes(modes),
        "controlnet_modes": _listed_modes(controlnet_modes),
        "controlnet_fields": model
        and {
            mode: sorted(controlnet_fields_of(model, mode))
            for mode in get_args(Mode)
            if mode in controlnet_modes
        },
        "max_controlnets": MAX_CONTROLNETS if limit is None else limit,
        "sums_controlnets": facts is None or facts.sums_controlnets,
        "true_cfg_scale": facts.true_cfg_scale if facts and "true_cfg_scale" in facts.fields else None,
        "max_sequence_length": tokens and tokens.default,
        "max_sequence_length_limit": tokens and tokens.limit,
    }


def _defaults(services: Services, name: str, *, has_controlnets: bool) -> dict[Mode, JobDefaultsResponse]:
    families, limit = services.families, services.settings.max_steps
    model = known_model(families, name)
    modes = MODES if model is None else (controlnet_modes_of if has_controlnets else modes_of)(model)
    found = {}
    for mode in _listed_modes(modes) or []:
        usual = families.job_defaults(name, mode, has_controlnets=has_controlnets)
        usual = usual._replace(num_inference_steps=min(usual.num_inference_steps, limit))
        unused = {"strength"} if mode == "text" else set()
        unused |= set() if has_controlnets else {"conditioning_scale"}
        found[mode] = JobDefaultsResponse(**{**usual._asdict(), **dict.fromkeys(unused)})
    return found


def _max_side_px(services: Services, model: str) -> int:
    limit = services.settings.max_side_px
    return min(limit, services.families.largest_side(model) or limit)


def _listed_modes(modes: frozenset[Mode] | None) -> list[Mode] | None:
    return None if modes is None else [mode for mode in get_args(Mode) if mode in modes]


def _traits(traits: ControlNetTraits | None) -> dict[str, Any]:
    return {
        "layout": None if traits is None else traits.layout,
        "control_modes": None if traits is None else traits.control_types,
        "control_mode_names": None if traits is None else list(traits.control_type_names),
        "max_side_px": None if traits is None else traits.max_side_px,
    }


def _schedulers(services: Services, model: str) -> list[str]:
    facts, config = services.families.facts(model), services.families.scheduler_config(model)
    return list(SCHEDULERS if facts is None else schedulers_of(facts, config))


def _limits(services: Services, model: str) -> dict[str, StepLimitsResponse]:
    """Of jobs from text, without ControlNets."""
    facts, config = services.families.facts(model), services.families.scheduler_config(model)
    begins = facts is not None and facts.sets_begin_index(has_controlnets=False)
    known = {
        name: step_limits(name, config, sets_begin_index=begins) for name in _schedulers(services, model)
    }
    return {name: StepLimitsResponse(**own._asdict()) for name, own in known.items() if own != ANY}


def _size(entry: ModelEntry, own: tuple[int, int] | None) -> dict[str, int | None]:
    width, height = own or (None, None)
    return {"width": entry.width or width, "height": entry.height or height}


def _or_none(signature: ModelSignature | None) -> str | None:
    return None if signature is None else str(signature)


def _workers(kind: WorkerKind, workers: list[Heartbeat], name: str) -> dict[str, Any]:
    """The fields of a model or ControlNet that tell which live workers serve it."""
    errors = {worker.name: worker.load_errors_of(kind) for worker in workers}
    return {
        "workers": [worker.name for worker in workers if worker.takes_work_for(kind, name)],
        "loaded": [worker.name for worker in workers if name in worker.loaded_of(kind)],
        "load_errors": {worker: found[name] for worker, found in errors.items() if name in found},
    }
