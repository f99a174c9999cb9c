"""What ``POST /v1/jobs`` takes: the body of a submission, field by field."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails

from api.schemas.foreign_names import (
    CONTROLNET_ALIASES,
    CONTROLNET_MEANT,
    JOB_ALIASES,
    JOB_MEANT,
    LORA_MEANT,
    OF_EACH_CONTROLNET,
)
from api.schemas.lora_name import LoraName
from api.schemas.request_fields import RequestFields, field_error
from api.schemas.webhook_request import JobWebhookRequest
from shared.catalog.preprocessors import check_name, fill_in
from shared.catalog.scheduler_aliases import canonical_name
from shared.jobs.options import (
    MAX_CONTROLNETS,
    MAX_LORAS,
    ControlNetOptions,
    JobOptions,
    LoraLoading,
    LoraOptions,
)
from shared.message_base import (
    MAX_IMAGES,
    Finite,
    GuidanceScale,
    ImageCount,
    Seed,
    ShortText,
    SidePx,
    StepCount,
)
from shared.storage.lora_names import cut_suffix
from shared.tenants.tenant import Priority

#: Characters of an image in base64, whatever the limit of bodies.
MAX_IMAGE_CHARS = 256 << 20
ImageText = Annotated[str, Field(max_length=MAX_IMAGE_CHARS)]


def _explain_negative(seed: Any) -> Any:
    """Elsewhere -1 asks for a random seed."""
    if isinstance(seed, int) and seed < 0:
        raise ValueError("a seed is greater than or equal to 0; leave it out for a random seed")
    return seed


#: A seed whose error says what to write in place of -1.
RequestSeed = Annotated[Seed, BeforeValidator(_explain_negative)]
#: A month at most: a job that waits is kept for longer.
DeadlineSeconds = Annotated[Finite, Field(gt=0, le=2_592_000)]
#: How a request sends an image.
IMAGE_DESCRIPTION = (
    "base64 of a PNG, JPEG or WebP (a data: URL is accepted), or `sha256:` and the hash of an image"
    " that is stored"
)


class ControlNetRequest(RequestFields, ControlNetOptions):
    """One ControlNet of a job, with its control image."""

    aliases = CONTROLNET_ALIASES
    meant = CONTROLNET_MEANT

    image: ImageText | None = Field(
        None,
        description=f"the control image: {IMAGE_DESCRIPTION}. A ControlNet that was trained to inpaint has"
        " none: it is shown the job's `image` and `mask_image`",
    )

    @field_validator("preprocessor")
    @classmethod
    def _is_available(cls, name: str) -> str:
        return check_name(name)

    @field_validator("preprocessor_options")
    @classmethod
    def _fit_the_preprocessor(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fill_in(info.data["preprocessor"], options) if "preprocessor" in info.data else options

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> "ControlNetRequest":
        if self.guidance_start >= self.guidance_end:
            raise ValueError("guidance_start must be less than guidance_end")
        return self


class LoraRequest(RequestFields, LoraOptions):
    """One LoRA of a job."""

    meant = LORA_MEANT

    name: LoraName


class LoraLoadingRequest(RequestFields, LoraLoading):
    """When LoRAs take effect: `exact` before the first step, `bounded` on arrival, `replay` at set steps."""

    @field_validator("steps")
    @classmethod
    def _by_lora_names(cls, steps: dict[str, int] | None) -> dict[str, int] | None:
        return None if steps is None else {cut_suffix(name): step for name, step in steps.items()}


class JobRequest(RequestFields, JobOptions):
    """A job to generate images. Only ``prompt`` is required; defaults are the model's own.

    diffusers' names are accepted where a field here is shorter; a field's description names them.
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "a red apple on a blue background", "seed": 7}}
    )
    aliases = JOB_ALIASES
    meant = JOB_MEANT

    model: ShortText | None = None
    width: SidePx | None = None
    height: SidePx | None = None
    num_inference_steps: StepCount | None = None
    guidance_scale: GuidanceScale | None = None
    scheduler: ShortText | None = Field(
        None, description="see /v1/models; also by diffusers' class, or as A1111 and ComfyUI write it"
    )
    seed: RequestSeed | None = Field(None, description="unset: a random one, which the response names")
    seeds: list[RequestSeed] | None = Field(
        None,
        min_length=1,
        max_length=MAX_IMAGES,
        description="one image for each, in place of seed and num_images",
    )
    num_images: ImageCount = 1
    image: ImageText | None = Field(
        None, description=f"the image to start from: {IMAGE_DESCRIPTION}; its size is the default size"
    )
    mask_image: ImageText | None = Field(
        None, description="white where the image is generated anew, black where it stays; sent as `image` is"
    )
    controlnets: list[ControlNetRequest] = Field([], max_length=MAX_CONTROLNETS)
    loras: list[LoraRequest] = Field([], max_length=MAX_LORAS)
    lora_loading: LoraLoadingRequest = LoraLoadingRequest()
    webhook: JobWebhookRequest | None = Field(None, description="where the events of this job are sent")
    priority: Priority = Field(
        "normal",
        description="of your own jobs those of a higher priority come first; an interactive job may take a"
        " device from a batch job, which goes on later",
    )
    deadline_s: DeadlineSeconds | None = Field(
        None,
        description="refused at once if the job cannot be done so soon, and failed with the code"
        " `deadline_passed` if it is not",
    )

    @classmethod
    def spread(cls, given: dict[str, Any]) -> list[InitErrorDetails]:
        """diffusers' arguments for all ControlNets become fields of each."""
        errors = []
        for name, field in OF_EACH_CONTROLNET.items():
            value = given.pop(name, None)
            problem = None if value is None else _give_each_controlnet(given, name, field, value)
            if problem is not None:
                errors.append(field_error("value_error", problem, name))
        return errors

    @field_validator("scheduler")
    @classmethod
    def _by_our_name(cls, name: str | None) -> str | None:
        return None if name is None else canonical_name(name)

    @model_validator(mode="after")
    def _exact_is_lossless(self) -> "JobRequest":
        if self.residual_precision != "exact" and self.lora_loading.mode == "exact":
            raise ValueError(
                f"residual_precision {self.residual_precision!r} is not lora_loading.mode 'exact'"
            )
        return self


def _give_each_controlnet(given: dict[str, Any], name: str, field: str, value: Any) -> str | None:
    """Write ``value``, or an item of it, into each of the ControlNets in ``given``; returns what is wrong."""
    controlnets = given.get("controlnets")
    if (
        not isinstance(controlnets, list)
        or not controlnets
        or not all(isinstance(controlnet, dict) for controlnet in controlnets)
    ):
        return f"{name} is about controlnets, and the job has none"
    values = value if isinstance(value, list) else [value] * len(controlnets)
    if len(values) != len(controlnets):
        return f"{name} has {len(values)} values for {len(controlnets)} controlnets"
    if any(controlnet.get(own) is not None for controlnet in controlnets for own in (field, name)):
        return f"{name} and {field} of controlnets say the same: give one of them"
    given["controlnets"] = [
        controlnet | {field: one} for controlnet, one in zip(controlnets, values, strict=True)
    ]
    return None
