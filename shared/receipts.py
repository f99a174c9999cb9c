"""The receipt: everything that decides the pixels of a job's pictures."""

from typing import Any, Literal

from pydantic import Field

from shared.contract import Message
from shared.requests import LoraLoading, SdxlOptions


class NetReceipt(Message):
    """A net as it was used."""

    name: str
    sha256: str
    image: str
    conditioning_scale: float
    guidance_start: float
    guidance_end: float
    batch: int = 1  # most jobs whose steps it computed in one pass; above 1 the last bits may differ


class LoraReceipt(Message):
    """A LoRA as it was used; ``step`` is the first step that saw it."""

    name: str
    etag: str
    sha256: str
    scale: float
    step: int


class Receipt(SdxlOptions):
    """Everything that decides the pixels of a job's pictures."""

    model: str
    model_sha256: str
    prompt: str
    negative_prompt: str | None
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
    split_steps: list[int] = Field([])  # steps whose guidance halves were predicted apart
    residual_precision: Literal["exact"] = "exact"
    device: str
    threads: int  # of the CPU; the order of float sums depends on it
    dtype: str
    versions: dict[str, str]
