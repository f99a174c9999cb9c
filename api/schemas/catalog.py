"""What REST answers about the catalog: models, schedulers, ControlNets and preprocessors."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.families.base import Mode


class StepLimitsResponse(BaseModel):
    """How many steps a scheduler supports when a job has no input image."""

    min_steps: int
    max_steps: int


class JobDefaultsResponse(BaseModel):
    """What a job has that says nothing else."""

    num_inference_steps: int
    guidance_scale: float
    strength: float | None = Field(description="null of jobs from texts alone, which have none")
    conditioning_scale: float | None = Field(description="of a ControlNet; null of jobs without")


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
    family: str | None = Field(description="its name in catalogs; null: not known until it is loaded")
    fields: list[str] | None = Field(
        description="those that this model takes, of the fields of a job that not every family does; null:"
        " not known until it is loaded, when the worker refuses those that it does not take"
    )
    prompt_syntaxes: list[str] | None = Field(description="of a job's `prompt_syntax`; null: not known")
    modes: list[Mode] = Field(
        description="its jobs begin from texts alone, an image, an image and a mask; if it was trained to"
        " inpaint, from the last alone"
    )
    controlnet_modes: list[Mode] = Field(description="the same of jobs with ControlNets")
    controlnet_fields: dict[Mode, list[str]] | None = Field(
        description="those of `fields` that jobs with ControlNets take, by what these begin from; null: not"
        " known until it is loaded"
    )
    defaults: dict[Mode, JobDefaultsResponse] = Field(
        description="by what jobs begin from; `num_inference_steps` and `guidance_scale` of the model are"
        " those of jobs from texts alone"
    )
    controlnet_defaults: dict[Mode, JobDefaultsResponse] = Field(
        description="the same of jobs with ControlNets"
    )
    max_controlnets: int = Field(description="how many control images a job may have")
    sums_controlnets: bool = Field(
        description="whether a job may have different ControlNets; false: all of them have one name"
    )
    size_multiple: int = Field(description="width and height must be divisible by it")
    max_side_px: int = Field(
        description="no side may be longer: as the fleet's settings allow and the model has positions for"
    )
    true_cfg_scale: float | None = Field(description="of jobs that do not say it; null: it has no such field")
    max_sequence_length: int | None = Field(description="the same")
    max_sequence_length_limit: int | None = Field(
        description="the largest that a job may say; null: it has no such field"
    )
    scheduler_config: dict[str, Any] = Field(
        description="options that the catalog sets in place of those in the model's own scheduler config"
    )
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


class OpenAIModel(BaseModel):
    """A base model as OpenAI's clients list models; ``created`` says nothing here."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "swiftdiffusion"


class ModelList(BaseModel):
    """The base models of the catalog, and all schedulers; each model names those that it takes."""

    models: list[ModelResponse]
    schedulers: list[SchedulerResponse]
    object: Literal["list"] = "list"
    data: list[OpenAIModel] = Field(description="the same models, for clients of OpenAI's API")


class ControlNetCatalogResponse(BaseModel):
    """A ControlNet, the base models that it fits, and its live workers."""

    name: str
    model: str = Field(description="the first of `models`")
    models: list[str] = Field(description="base models that it fits")
    layout: str | None = Field(
        description="how its residuals spread over a base model's blocks: ControlNets of one job must agree;"
        " empty: as those of any of its base model; null: not known until it is loaded"
    )
    control_modes: int | None = Field(
        description="of a union of ControlNets: `control_mode` is below it; 0: it is none, and takes no"
        " `control_mode`; null: not known until it is loaded"
    )
    control_mode_names: list[str] | None = Field(
        description="what its authors call them, from 0 on: of the last ones, or of all, it may not be known;"
        " null: not known until it is loaded"
    )
    max_side_px: int | None = Field(
        description="the most that it has positions for; null: no limit, or not known until it is loaded"
    )
    modes: list[Mode] | None = Field(
        description="what jobs begin from that it guides: of one that was trained to inpaint, an image and a"
        " mask; null: not known until it is loaded"
    )
    workers: list[str] = Field(
        description="live workers that serve it: ControlNet workers, and UNet workers that may load it"
    )
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
