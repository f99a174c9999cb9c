"""`/v1/models` and `/v1/controlnets`: the catalog, schedulers, preprocessors, and live workers."""

from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.schemas.jobs import answer
from api.schemas.problems import refusals
from api.services import Services
from shared.catalog.entries import LoadOptions, ModelEntry
from shared.catalog.preprocessors import PREPROCESSORS
from shared.catalog.schedulers import SCHEDULERS, StepLimits, step_limits
from shared.families.base import ModelSignature
from shared.registry.workers import Heartbeat, live_workers


class StepLimitsResponse(BaseModel):
    """How many steps a scheduler supports when a job has no input image."""

    min_steps: int
    max_steps: int


class ModelResponse(BaseModel):
    """A base model, its defaults, and its live workers."""

    name: str
    default: bool
    dtype: str
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    signature: str | None = Field(
        description="family and sizes, which must equal those of its ControlNets; null: not loaded yet"
    )
    width: int | None = Field(description="of images whose job sets none; null: not known until it is loaded")
    height: int | None
    schedulers: list[str]
    step_limits: dict[str, StepLimitsResponse] = Field(
        description="by scheduler, where this model's scheduler config is stricter than `schedulers`"
    )
    controlnets: list[str]
    workers: list[str] = Field(description="live UNet workers that take its jobs")
    loaded: list[str] = Field(description="those of them that hold its weights")
    load_errors: dict[str, str] = Field(description="those of them that could not load it, and why")


class SchedulerResponse(BaseModel):
    """A scheduler: a diffusers class with the model's scheduler config."""

    name: str
    diffusers_class: str
    options: dict[str, Any] = Field(description="values that override the model's scheduler config")
    takes: list[str] = Field(
        description="fields of a job that only some support: `timesteps`, `sigmas`, `eta`"
    )
    min_steps: int = Field(description="for any model; `step_limits` of a model may be stricter")
    max_steps: int


class ModelList(BaseModel):
    """The base models of the catalog, and the schedulers, which work with all of them."""

    models: list[ModelResponse]
    schedulers: list[SchedulerResponse]


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


class ControlNetCatalogResponse(BaseModel):
    """A ControlNet, the base models that it fits, and its live workers."""

    name: str
    model: str = Field(description="the first of `models`")
    models: list[str] = Field(description="base models that it fits")
    workers: list[str] = Field(description="live ControlNet workers that serve it")
    loaded: list[str] = Field(description="those of them that hold its weights")
    load_errors: dict[str, str] = Field(description="those of them that could not load it, and why")


class PreprocessorResponse(BaseModel):
    """A preprocessor: it turns an image into a control image."""

    name: str
    description: str
    options: dict[str, Any] = Field(description="the JSON schema of each option, by its name")


class ControlNetList(BaseModel):
    """The ControlNets of the catalog, and the preprocessors, which work with all of them."""

    controlnets: list[ControlNetCatalogResponse]
    preprocessors: list[PreprocessorResponse]


def add_catalog(api: APIBlueprint, services: Services) -> None:
    """Add the routes of the catalog to ``api``."""
    catalog, control = services.catalog, services.control

    @api.get("/v1/models", summary="List base models", responses={200: ModelList, **refusals(503)})
    def list_models() -> Response:
        workers = [worker for worker in live_workers(control) if worker.kind == "unet"]
        models = [
            ModelResponse(
                name=name,
                default=name == catalog.default_model,
                **entry.model_dump(exclude={"source", "width", "height", *LoadOptions.model_fields}),
                **_size(entry, services.families.own_size(name)),
                signature=_or_none(services.families.signature(name)),
                schedulers=list(SCHEDULERS),
                step_limits=_limits(services.families.scheduler_config(name)),
                controlnets=catalog.controlnets_of(name),
                workers=_serving(workers, name),
                loaded=_holding(workers, name),
                load_errors=_load_errors(workers, name),
            )
            for name, entry in catalog.models.items()
        ]
        return answer(ModelList(models=models, schedulers=SCHEDULER_RESPONSES))

    @api.get("/v1/controlnets", summary="List ControlNets", responses={200: ControlNetList, **refusals(503)})
    def list_controlnets() -> Response:
        workers = [worker for worker in live_workers(control) if worker.kind == "controlnet"]
        controlnets = [
            ControlNetCatalogResponse(
                name=name,
                model=entry.models[0],
                models=list(entry.models),
                workers=_serving(workers, name),
                loaded=_holding(workers, name),
                load_errors=_load_errors(workers, name),
            )
            for name, entry in catalog.controlnets.items()
        ]
        return answer(ControlNetList(controlnets=controlnets, preprocessors=_preprocessors()))


def _preprocessors() -> list[PreprocessorResponse]:
    return [
        PreprocessorResponse(
            name=name,
            description=kind.__doc__ or "",
            options=kind.model_json_schema().get("properties", {}),
        )
        for name, kind in PREPROCESSORS.items()
    ]


def _limits(config: dict[str, Any] | None) -> dict[str, StepLimitsResponse]:
    known = {scheduler: step_limits(scheduler, config) for scheduler in SCHEDULERS}
    return {name: StepLimitsResponse(**own._asdict()) for name, own in known.items() if own != ANY}


def _size(entry: ModelEntry, own: tuple[int, int] | None) -> dict[str, int | None]:
    width, height = own or (None, None)
    return {"width": entry.width or width, "height": entry.height or height}


def _or_none(signature: ModelSignature | None) -> str | None:
    return None if signature is None else str(signature)


def _serving(workers: list[Heartbeat], name: str) -> list[str]:
    return [
        worker.name
        for worker in workers
        if name in worker.serves and not worker.unavailable_reasons and name not in worker.load_errors
    ]


def _holding(workers: list[Heartbeat], name: str) -> list[str]:
    return [worker.name for worker in workers if name in worker.loaded]


def _load_errors(workers: list[Heartbeat], name: str) -> dict[str, str]:
    return {worker.name: worker.load_errors[name] for worker in workers if name in worker.load_errors}
