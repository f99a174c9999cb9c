"""Everything that crosses a process: what REST takes, what Celery carries, what the job store holds."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: A finite number; JSON's NaN and Infinity are no scales.
Finite = Annotated[float, Field(allow_inf_nan=False)]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
#: diffusers' seeds are those of torch's generator.
MAX_SEED = 2**63 - 1


class Message(BaseModel):
    """Immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what REST takes ---------------------------------------------------------------------------


class LoraLoading(Message):
    """When LoRAs take effect.

    ``exact``: before the first step, as in diffusers. ``bounded``: as soon as they arrive, at most
    ``max_async_steps`` steps late. ``replay``: each at its step in ``steps``.
    """

    mode: Literal["exact", "bounded", "replay"] = "bounded"
    max_async_steps: int | None = Field(None, ge=0, description="default: a fifth of the job's steps")
    steps: dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="mode replay: the step at which each LoRA takes effect, from a receipt"
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> "LoraLoading":
        if (self.steps is not None) != (self.mode == "replay"):
            raise ValueError("steps belongs to mode 'replay', and to no other")
        if self.max_async_steps is not None and self.mode != "bounded":
            raise ValueError("max_async_steps belongs to mode 'bounded'")
        return self


class ControlRequest(Message):
    """One ControlNet of a job, with its control image."""

    name: str
    image: str = Field(description="base64 of a PNG, JPEG or WebP; a data: URL is accepted")
    conditioning_scale: Finite = Field(1.0, ge=-10, le=10)
    guidance_start: Finite = Field(0.0, ge=0, le=1)
    guidance_end: Finite = Field(1.0, ge=0, le=1)
    preprocessor: Literal["none"] = "none"

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> "ControlRequest":
        if self.guidance_start >= self.guidance_end:
            raise ValueError("guidance_start must be less than guidance_end")
        return self


class LoraRequest(Message):
    """One LoRA of a job: a name in the bucket, and its strength."""

    name: str
    scale: Finite = Field(1.0, ge=-10, le=10)


class JobRequest(Message):
    """``POST /v1/jobs``. Only ``prompt`` is required; defaults are the model's own."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "prompt": "a red apple on a blue background",
                "seed": 7,
                "loras": [{"name": "twemoji", "scale": 1.0}],
            }
        },
    )

    prompt: str = Field(max_length=10_000)
    negative_prompt: str = Field("", max_length=10_000)
    model: str | None = None
    width: int | None = Field(None, ge=8, multiple_of=8)
    height: int | None = Field(None, ge=8, multiple_of=8)
    num_inference_steps: int | None = Field(None, ge=1)
    guidance_scale: Finite | None = Field(None, ge=0, le=100)
    scheduler: str | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="unset: drawn, and told in the answer")
    num_images: int = Field(1, ge=1)
    controlnets: list[ControlRequest] = Field([], max_length=8)
    loras: list[LoraRequest] = Field([], max_length=16)
    lora_loading: LoraLoading = LoraLoading()


# --- what the job store holds ------------------------------------------------------------------


class ControlSpec(Message):
    """A ControlNet of an accepted job; the image is in the image bucket, named by its sha256."""

    name: str
    image: str
    conditioning_scale: float
    guidance_start: float
    guidance_end: float
    preprocessor: str


class LoraRef(Message):
    """A LoRA of an accepted job: exactly this version of this object."""

    name: str
    etag: str
    size_bytes: int
    scale: float


class JobSpec(Message):
    """An accepted job: every default filled in, every name resolved."""

    model: str
    prompt: str
    negative_prompt: str
    width: int | None  # None: the model's own size
    height: int | None
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    seed: int
    num_images: int
    controlnets: list[ControlSpec]
    loras: list[LoraRef]
    lora_loading: LoraLoading


class Picture(Message):
    """One finished picture; the PNG is in the image bucket under ``key``."""

    key: str
    seed: int
    width: int
    height: int
    sha256: str


class Span(Message):
    """A stretch of a job's time, in seconds since the epoch; ``worker`` is who spent it."""

    name: str
    start_s: float
    end_s: float
    worker: str


class Failure(Message):
    """Why a job failed: a code to match on and a sentence to read."""

    code: str
    detail: str


# --- the receipt ---------------------------------------------------------------------------------


class NetReceipt(Message):
    """A net as it was used."""

    name: str
    sha256: str
    image: str
    conditioning_scale: float
    guidance_start: float
    guidance_end: float


class LoraReceipt(Message):
    """A LoRA as it was used; ``step`` is the first step that saw it."""

    name: str
    etag: str
    sha256: str
    scale: float
    step: int


class Receipt(Message):
    """Everything that decides the pixels of a job's pictures."""

    model: str
    model_sha256: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    scheduler_config: dict[str, Any]
    seed: int
    num_images: int  # picture i of the batch uses seed + i
    controlnets: list[NetReceipt]
    loras: list[LoraReceipt]
    lora_loading: LoraLoading
    residual_precision: Literal["exact"] = "exact"
    device: str
    threads: int  # of the CPU; the order of float sums depends on it
    dtype: str
    versions: dict[str, str]


# --- what the control Redis carries ------------------------------------------------------------------


class Prefetch(Message):
    """Channel `shared.keys.PREFETCH`: an accepted job for ``model`` will want these LoRAs."""

    model: str
    loras: list[LoraRef]


# --- what Celery carries ---------------------------------------------------------------------------


class GenerateJob(Message):
    """Draw a job. What to draw is in the job store: a message may arrive twice, the job is one."""

    job_id: str


class Attach(Message):
    """A job is about to ask for ``net``: load it, fetch the control image and embed it."""

    job_id: str
    attempt: str
    net: str
    image: str  # key of the preprocessed control image at the residual server
    batch: int  # rows of the step requests that will follow
