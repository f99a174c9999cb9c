"""The receipt: everything that decides the pixels of a job's images. This is format 3."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from shared.jobs.options import MAX_CONTROLNETS, MAX_LORAS
from shared.jobs.spec import JobSpec
from shared.message_base import (
    MAX_STEPS,
    STORED,
    JsonObject,
    Sha256,
    ShortText,
    Step,
    StrictMessage,
    Versions,
)

#: Goes up when an older fleet would generate something else from a receipt than it says.
FORMAT = 3


#: Of the CPU; the order of float sums depends on it.
Threads = Annotated[int, Field(ge=1, le=1 << 16)]
#: A receipt names so many other platforms of a ControlNet, at most.
MAX_PLATFORMS = 16


class Platform(StrictMessage):
    """What decides the last bits of what a process computes: another one may sum floats in another order."""

    device: ShortText
    threads: Threads
    versions: Versions
    accelerator: Versions = Field(
        {},
        description="name, compute capability, CUDA, cuDNN, TF32, reduced precision of a GPU; empty: a CPU",
    )
    processor: ShortText = Field(
        "",
        description="architecture and instruction set of the CPU, on which a GPU's noise is sampled, too;"
        " empty: an older receipt, which does not say it",
    )
    cpu_model: ShortText = Field(
        "",
        description="maker, model, features and caches of the CPU that computes, by which libraries choose"
        " kernels and the blocks of sums; empty: a GPU computes, or an older receipt, which does not say it",
    )

    @property
    def digest(self) -> str:
        """Equal where models have the same bits; what a GPU computes does not depend on the CPU."""
        fields = self.model_dump(include=set(Platform.model_fields))
        if self.accelerator:
            del fields["processor"], fields["threads"], fields["cpu_model"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


class ControlNetReceipt(StrictMessage):
    """A ControlNet as it was used; ``sha256`` is of its weights, empty if it computed no step."""

    name: ShortText
    sha256: Sha256
    batch: int = Field(
        1, ge=1, le=1 << 16, description="most jobs in one forward pass; above 1 the last bits may differ"
    )
    engine: ShortText = Field(
        "", description="what ran it: eager, graphs or compile; empty: nothing, or unknown"
    )
    memory_format: ShortText = Field("", description="of its convolutions: contiguous or channels_last")
    other_platforms: list[Platform] = Field(
        [],
        max_length=MAX_PLATFORMS,
        description="where steps of it were computed on another platform than the worker's: the last bits may"
        " be others in another run",
    )


class LoraReceipt(StrictMessage):
    """A LoRA as it was used; ``sha256`` is of its file, ``step`` the first step that it took effect in."""

    name: ShortText
    sha256: Sha256
    step: Step


class WorkerReceipt(Platform):
    """What a worker computed a base model with."""

    dtype: ShortText
    engine: ShortText = Field("eager", description="what ran the base model: eager, graphs or compile")
    memory_format: ShortText = Field("contiguous", description="of the base model: or channels_last")
    vae_dtype: ShortText = Field("", description="empty: an older receipt, which does not say it")


class Receipt(StrictMessage):
    """Everything that decides the pixels of a job's images.

    ``spec`` is the job as it was run: its size, control maps and split steps are filled in.
    """

    version: int = Field(FORMAT, ge=1, le=FORMAT, description="of the format")
    spec: JobSpec
    model_sha256: Sha256
    configs_sha256: Sha256 = Field(
        "", description="of the model's configs and tokenizers; empty: an older receipt"
    )
    switches: JsonObject = Field({}, description="how the model was loaded: attention slicing, VAE tiling")
    scheduler_config: JsonObject
    controlnets: list[ControlNetReceipt] = Field(max_length=MAX_CONTROLNETS, description="as in `spec`")
    loras: list[LoraReceipt] = Field(max_length=MAX_LORAS, description="as in `spec`")
    worker: WorkerReceipt
    cfg_follower: WorkerReceipt | None = Field(
        None, description="the second worker, if one predicted the unconditional branch of some steps"
    )
    continued_at: list[Step] = Field(
        [],
        max_length=2 * MAX_STEPS,
        description="steps from which another attempt went on with the state that one before had stored; the"
        " pixels do not depend on them",
    )
    encoder: Versions = Field(
        {}, description="libraries that encoded files of a lossy format; empty: PNGs, which lose nothing"
    )
    digest: Sha256 = Field("", description="sha256 over the rest: finds accidental edits, signs nothing")

    @model_validator(mode="before")
    @classmethod
    def _is_of_a_known_format(cls, value: Any, info: ValidationInfo) -> Any:
        """Before the fields: a newer receipt may have others. One that is stored is read all the same."""
        version = value.get("version") if isinstance(value, dict) else None
        if info.context is not STORED and isinstance(version, int) and version > FORMAT:
            raise ValueError(f"a receipt of format {version}; this fleet reads formats up to {FORMAT}")
        return value

    @model_validator(mode="after")
    def _names_what_its_job_uses(self) -> Self:
        for field in ("controlnets", "loras"):
            names = [[one.name for one in getattr(part, field)] for part in (self, self.spec)]
            if names[0] != names[1]:
                raise ValueError(f"its {field} are not those of its spec")
        return self

    def sealed(self) -> Self:
        """The same receipt with its digest."""
        return self.model_copy(update={"digest": digest_of(self)})

    def is_edited(self) -> bool:
        """Whether a field was changed since the receipt was sealed."""
        return self.digest != digest_of(self)


def digest_of(receipt: StrictMessage) -> str:
    """sha256 over a receipt's fields, except for ``digest`` itself."""
    # Defaults are left out, so that a field which is added later changes no digest.
    fields = receipt.model_dump(mode="json", exclude={"digest"}, exclude_defaults=True)
    text = json.dumps(_canonical(fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """JSON as every language writes it again: some write 3.0 as 3."""
    if isinstance(value, Mapping):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
