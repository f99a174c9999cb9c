"""Where a submission's request comes from: the client wrote it, or a receipt stands for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.schemas.job_request import JobRequest
from api.schemas.problems import field_of, sentence
from api.schemas.submission import ReplayRequest, Submission
from api.submission.images.reader import STORED
from shared.errors import ImageGone, InvalidRequest, ReceiptEdited, StoredImageMissing
from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.options import ControlNetOptions, JobOptions, LoraOptions, fields_of
from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec


@dataclass(frozen=True)
class Source:
    """A request, and the receipt that it replays, if it does."""

    request: JobRequest
    receipt: Receipt | None = None
    #: Where in the body the fields of the request are.
    prefix: str = ""

    @property
    def map_field(self) -> str:
        """What a receipt of this format calls a ControlNet's control map."""
        return "map" if self.prefix == "receipt" else "control_map"


def read_source(submission: Submission) -> Source:
    """The request that was submitted; raises `ReceiptEdited`, and `InvalidRequest` for the field at fault."""
    body = submission.root
    if not isinstance(body, ReplayRequest):
        return Source(body)
    if body.receipt.is_edited():
        detail = "the receipt was edited after it was written: its fields and its digest disagree"
        raise ReceiptEdited(detail, field="receipt.digest")
    prefix = "receipt" if isinstance(body.receipt, LegacyReceipt) else "receipt.spec"
    receipt = body.receipt.upgraded() if isinstance(body.receipt, LegacyReceipt) else body.receipt
    with errors_within(prefix):
        return Source(JobRequest.model_validate(_request_of(receipt)), receipt, prefix)


@contextmanager
def errors_within(prefix: str) -> Iterator[None]:
    """Let errors of fields point into the receipt at ``prefix``; without one, leave them as they are."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        detail = sentence(first["type"], first["msg"])
        raise InvalidRequest(detail, field=field_of((prefix, *first["loc"]))) from None
    except StoredImageMissing as error:
        if not prefix:
            raise
        raise ImageGone(str(error), field=f"{prefix}.{error.field}") from None
    except InvalidRequest as error:
        if prefix:
            error.field = f"{prefix}.{error.field}"
        raise


def _request_of(receipt: Receipt) -> dict[str, Any]:
    """The request whose job has this receipt. Of fields that say the same thing, it has one."""
    spec = receipt.spec
    request = fields_of(JobOptions, spec) | {
        "latent_parallelism": "auto",  # the receipt's split steps are repeated, whoever asked for them
        "model": spec.model,
        "width": spec.width,
        "height": spec.height,
        "guidance_scale": spec.guidance_scale,
        "scheduler": spec.scheduler,
        "image": _stored(spec.image),
        "mask_image": _stored(spec.mask_image),
        "controlnets": [
            fields_of(ControlNetOptions, controlnet) | {"image": _stored(controlnet.image)}
            for controlnet in spec.controlnets
        ],
        "loras": [fields_of(LoraOptions, lora) for lora in spec.loras],
        "lora_loading": {"mode": "replay", "steps": {lora.name: lora.step for lora in receipt.loras}},
    }
    return request | _seeds_of(spec) | _steps_of(spec)


def _stored(sha256: str | None) -> str | None:
    """How a request names an image that is stored."""
    return None if sha256 is None else STORED + sha256


def _seeds_of(spec: JobSpec) -> dict[str, Any]:
    return {} if spec.seeds else {"seed": spec.seed, "num_images": spec.num_images}


def _steps_of(spec: JobSpec) -> dict[str, Any]:
    has_own = spec.timesteps or spec.sigmas
    return {} if has_own else {"num_inference_steps": spec.num_inference_steps}
