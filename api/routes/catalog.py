"""The catalog over REST: models, ControlNets and all that goes with them, and which live workers serve
what."""

from typing import Any

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.schemas.jobs import answer
from api.schemas.problems import refusals
from api.services import Services
from shared.catalog.catalog import LoadOptions, ModelEntry
from shared.catalog.preprocessors import PREPROCESSORS
from shared.catalog.schedulers import SCHEDULERS, StepLimits, step_limits
from shared.families.base import ModelSignature
from shared.registry.workers import Heartbeat, live_workers


class StepLimitsResponse(BaseModel):
    """How many steps a scheduler can make without an image to start from."""

    min_steps: int
    max_steps: int


class ModelResponse(BaseModel):
    """A base model, its defaults, and who serves it."""

    name: str
    default: bool
    dtype: str
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    shape: str | None = Field(
        description="family and sizes, which its ControlNets must share; null: not loaded yet"
    )
    width: int | None = Field(description="of an image whose job names none; null: known once it is loaded")
    height: int | None
    schedulers: list[str]
    step_limits: dict[str, StepLimitsResponse] = Field(
        description="by scheduler, where this model's own scheduler config allows fewer"
    )
    controlnets: list[str]
    workers: list[str] = Field(description="live UNet workers that take its jobs")
    loaded: list[str] = Field(description="those of them that hold its weights")
    failed: dict[str, str] = Field(description="those of them that could not load it, and why")


class SchedulerResponse(BaseModel):
    """A scheduler: a diffusers class on the model's own scheduler config."""

    name: str
    diffusers_class: str
    options: dict[str, Any] = Field(description="what overrides the model's own scheduler config")
    takes: list[str] = Field(description="fields of a job that not every scheduler knows")
    min_steps: int = Field(description="of any model; a model's `step_limits` are its own")
    max_steps: int


class ModelList(BaseModel):
    """The base models of the catalog, and the schedulers that draw with any of them."""

    models: list[ModelResponse]
    schedulers: list[SchedulerResponse]


#: What no model goes beyond.
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
    """A ControlNet, the base models it guides, and who serves it."""

    name: str
    model: str = Field(description="the first of `models`")
    models: list[str] = Field(description="base models that it guides")
    workers: list[str] = Field(description="live ControlNet workers that serve it")
    loaded: list[str] = Field(description="those of them that hold its weights")
    failed: dict[str, str] = Field(description="those of them that could not load it, and why")


class PreprocessorResponse(BaseModel):
    """What makes a map of a control image."""

    name: str
    description: str
    options: dict[str, Any] = Field(description="the JSON schema of each option, by its name")


class ControlNetList(BaseModel):
    """The ControlNets of the catalog, and the preprocessors that any of them may be given."""

    controlnets: list[ControlNetCatalogResponse]
    preprocessors: list[PreprocessorResponse]


def add_catalog(api: APIBlueprint, services: Services) -> None:
    """Add the routes of the catalog to ``api``."""
    catalog, control = services.catalog, services.control

    @api.get("/v1/models", summary="List base models", responses={200: ModelList, **refusals(503)})
    def list_models() -> Response:
        workers = [beat for beat in live_workers(control) if beat.kind == "unet"]
        models = [
            ModelResponse(
                name=name,
                default=name == catalog.default_model,
                **entry.model_dump(exclude={"source", "width", "height", *LoadOptions.model_fields}),
                **_size(entry, services.families.own_size(name)),
                shape=_told(services.families.signature(name)),
                schedulers=list(SCHEDULERS),
                step_limits=_limits(services.families.scheduler_config(name)),
                controlnets=catalog.controlnets_of(name),
                workers=_serving(workers, name),
                loaded=_holding(workers, name),
                failed=_failed(workers, name),
            )
            for name, entry in catalog.models.items()
        ]
        return answer(ModelList(models=models, schedulers=SCHEDULER_RESPONSES))

    @api.get("/v1/controlnets", summary="List ControlNets", responses={200: ControlNetList, **refusals(503)})
    def list_controlnets() -> Response:
        workers = [beat for beat in live_workers(control) if beat.kind == "controlnet"]
        controlnets = [
            ControlNetCatalogResponse(
                name=name,
                model=entry.models[0],
                models=list(entry.models),
                workers=_serving(workers, name),
                loaded=_holding(workers, name),
                failed=_failed(workers, name),
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


def _told(shape: ModelSignature | None) -> str | None:
    return None if shape is None else str(shape)


def _serving(workers: list[Heartbeat], name: str) -> list[str]:
    able = (worker for worker in workers if not worker.problems and name not in worker.failed)
    return [worker.name for worker in able if name in worker.serves]


def _holding(workers: list[Heartbeat], name: str) -> list[str]:
    return [worker.name for worker in workers if name in worker.loaded]


def _failed(workers: list[Heartbeat], name: str) -> dict[str, str]:
    return {worker.name: worker.failed[name] for worker in workers if name in worker.failed}
