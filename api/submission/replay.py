"""From the receipt of a picture to the job that draws it again."""

from itertools import pairwise
from typing import Any, Self

from pydantic import RootModel, ValidationError

from api.schemas.job_request import ControlNetRequest, JobRequest, LoraRequest
from api.schemas.problems import field_of, sentence
from api.services import Services
from api.submission.control_images import STORED, read_stored_image
from api.submission.resolve import resolve
from api.submission.warn import Warn
from shared.errors import ImageGone, InvalidRequest, ReceiptEdited, ReceiptMismatch, StoredImageMissing
from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec
from shared.message_base import StrictMessage

#: How pixels came about, not what they are: a replay decides these itself.
_OWN = {"lora_loading", "latent_parallelism"}
#: A field that says what others say, too: a request has the one, a receipt has all.
_SAID_BY = {
    "seeds": {"seed", "num_images"},
    "timesteps": {"num_inference_steps"},
    "sigmas": {"num_inference_steps"},
}
#: Fields of a job that no request has with this meaning: a replay takes them from its receipt.
_UNRESOLVED = ("latent_parallelism", "split_steps")
#: What `resolve` makes of a receipt anew.
_RESOLVED = {"controlnets", "loras", "lora_loading"}


class ReplayRequest(StrictMessage):
    """A receipt decides everything: nothing else may stand beside it."""

    receipt: Receipt


class Submission(RootModel[JobRequest | ReplayRequest]):
    """What ``POST /v1/jobs`` takes: a request, or the receipt of pictures that are to be drawn again."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read as the one of the two it is, so that errors point at its fields alone."""
        if not isinstance(obj, dict) or "receipt" not in obj:
            return cls(JobRequest.model_validate(obj, **options))
        for name in obj.keys() - {"receipt"}:
            raise InvalidRequest("a receipt decides everything: leave other fields out", field=name[:100])
        return cls(ReplayRequest.model_validate(obj, **options))


def accept(submission: Submission, services: Services, warn: Warn) -> tuple[JobSpec, Receipt | None]:
    """The job that was submitted, and the receipt it replays; ``warn`` is called with each warning."""
    asked = submission.root
    if isinstance(asked, ReplayRequest):
        return replay(asked.receipt, services), asked.receipt
    return resolve(asked, services, warn), None


def replay(receipt: Receipt, services: Services) -> JobSpec:
    """The job of ``receipt``, checked as if it were asked for.

    Raises `ReceiptEdited`, `InvalidRequest` that points into the receipt, `ImageGone` for an image that is
    no longer stored, and `ReceiptMismatch` for what can be known to differ by now; the workers check models,
    ControlNets and files themselves.
    """
    if receipt.is_edited():
        detail = "the receipt was edited after it was written: its fields and its digest disagree"
        raise ReceiptEdited(detail, field="receipt.digest")
    try:
        spec = resolve(JobRequest.model_validate(_asked_for(receipt)), services)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(
            sentence(first["type"], first["msg"]), field=field_of(("receipt", *first["loc"]))
        ) from None
    except StoredImageMissing as error:
        raise ImageGone(str(error), field=f"receipt.{error.field}") from None
    except InvalidRequest as error:
        error.field = f"receipt.{error.field}"
        raise
    _check_same(receipt, spec)
    _check_loras(receipt, services)
    _check_maps(receipt, services)
    own = {name: getattr(receipt, name) for name in _UNRESOLVED}
    return spec.with_maps([controlnet.map for controlnet in receipt.controlnets]).model_copy(update=own)


def _asked_for(receipt: Receipt) -> dict[str, Any]:
    """The request that would be answered with ``receipt``; control images are those that are stored."""
    doubled = {other for name, others in _SAID_BY.items() if getattr(receipt, name) for other in others}
    told = receipt.model_dump(include=JobRequest.model_fields.keys() - _OWN - doubled)
    images = {field: STORED + told[field] for field in ("image", "mask_image") if told[field]}
    controlnets = [
        controlnet.model_dump(include=set(ControlNetRequest.model_fields))
        for controlnet in receipt.controlnets
    ]
    return told | {
        **images,
        "controlnets": [{**controlnet, "image": STORED + controlnet["image"]} for controlnet in controlnets],
        "loras": [lora.model_dump(include=set(LoraRequest.model_fields)) for lora in receipt.loras],
        "lora_loading": {"mode": "replay", "steps": {lora.name: lora.step for lora in receipt.loras}},
    }


def _check_same(receipt: Receipt, spec: JobSpec) -> None:
    """A receipt says some things twice, as seeds and their number: both must say the same.

    So whatever of it takes effect was checked as a field of a request.
    """
    for name in JobSpec.model_fields.keys() - _RESOLVED - set(_UNRESOLVED):
        stated, resolved = getattr(receipt, name), getattr(spec, name)
        if stated != resolved:
            detail = f"{name} is {stated!r} here, and the other fields of the receipt make it {resolved!r}"
            raise InvalidRequest(detail, field=f"receipt.{name}")
    last = 2 * spec.num_inference_steps  # some schedulers walk twice as many timesteps
    if any(after <= before for before, after in pairwise(receipt.split_steps)) or any(
        step >= last for step in receipt.split_steps
    ):
        detail = f"split_steps must rise and be less than {last}"
        raise InvalidRequest(detail, field="receipt.split_steps")


def _check_loras(receipt: Receipt, services: Services) -> None:
    """By the sha256 that uploads note beside a file; of other files the worker knows it first."""
    for lora in receipt.loras:
        noted = services.inspections.find(lora.name)[0].metadata.get("sha256", lora.sha256)
        if noted != lora.sha256:
            raise ReceiptMismatch(f"the bytes of LoRA {lora.name!r}", was=lora.sha256, now=noted)


def _check_maps(receipt: Receipt, services: Services) -> None:
    """What a preprocessor made is not made again: another version of it could see other edges."""
    for i, controlnet in enumerate(receipt.controlnets):
        if controlnet.map not in (None, controlnet.image):
            field = f"receipt.controlnets.{i}.map"
            max_px = services.settings.max_control_px
            try:
                read_stored_image(services.images, controlnet.map, max_px=max_px, field=field)
            except StoredImageMissing as error:
                raise ImageGone(str(error), field=field) from None
