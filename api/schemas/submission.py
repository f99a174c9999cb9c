"""What ``POST /v1/jobs`` takes: a request, or the receipt of images that are to be generated again."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, RootModel, Tag

from api.schemas.job_request import JobRequest
from api.schemas.webhook_request import JobWebhookRequest
from shared.errors import InvalidRequest
from shared.jobs.legacy_receipt import LegacyReceipt, is_legacy
from shared.jobs.receipt import Receipt
from shared.message_base import StrictMessage


def _format(value: Any) -> str:
    """A tag in angle brackets is left out of the fields that problems name."""
    return "<legacy>" if isinstance(value, LegacyReceipt) or is_legacy(value) else "<receipt>"


AnyReceipt = Annotated[
    Annotated[Receipt, Tag("<receipt>")] | Annotated[LegacyReceipt, Tag("<legacy>")], Discriminator(_format)
]


class ReplayRequest(StrictMessage):
    """A receipt, which decides everything of the images: no other field that does may be given with it."""

    receipt: AnyReceipt
    webhook: JobWebhookRequest | None = Field(None, description="where the events of this job are sent")


class Submission(RootModel[JobRequest | ReplayRequest]):
    """A request for a job, or a receipt to replay."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as the one of the two that it is, so that errors point at its fields alone."""
        if not isinstance(obj, dict) or "receipt" not in obj:
            return cls(JobRequest.model_validate(obj, **options))
        for name in obj.keys() - ReplayRequest.model_fields.keys():
            raise InvalidRequest("a receipt decides everything: leave other fields out", field=name[:100])
        return cls(ReplayRequest.model_validate(obj, **options))
