"""What clients say of webhooks: where events are sent, and which."""

from typing import Annotated

from pydantic import Field, StringConstraints

from api.schemas.foreign_names import WEBHOOK_MEANT
from api.schemas.request_fields import RequestFields
from shared.message_base import StrictMessage
from shared.webhooks.endpoint import ENDED, Event, Events
from shared.webhooks.targets import MAX_URL_CHARS

Url = Annotated[
    str,
    Field(
        max_length=MAX_URL_CHARS,
        description="https:// or http://; its host must have a public address, unless the operator lists it",
        examples=["https://example.com/hooks"],
    ),
]
Description = Annotated[str, StringConstraints(max_length=200)]
_ENDED: list[Event] = list(ENDED)


class JobWebhookRequest(RequestFields):
    """Where the events of one job are sent."""

    meant = WEBHOOK_MEANT

    url: Url
    events: Events = Field(_ENDED, description="default: those that end a job")


class WebhookRequest(JobWebhookRequest):
    """Where the events of all jobs are sent."""

    description: Description = Field("", description="for its owner")


class WebhookChange(RequestFields):
    """What is to change of a webhook; the rest stays."""

    meant = WEBHOOK_MEANT

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = Field(None, description="false: nothing is sent; true, also after a 410: again")


class ReplayDeliveries(StrictMessage):
    """Which deliveries are to be sent again."""

    deliveries: (
        Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=200)] | None
    ) = Field(None, description="their `id`s; unset: all that have failed")
