"""Paths, queries and responses of the routes of webhooks."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from api.openapi import Query
from api.public_urls import public_url
from shared.webhooks.deliveries import Delivery, DeliveryStatus
from shared.webhooks.endpoint import EVENTS, DisabledReason, Endpoint, Event


class WebhookPath(BaseModel):
    """Path of a webhook."""

    webhook_id: str


class DeliveryQuery(Query):
    """Which page of the list, or which job."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100, description="`next_cursor` of the page before")
    job: str | None = Field(
        None,
        pattern="^[0-9a-f]{16}$",
        description="id of a job: its deliveries alone, all of them on one page",
    )


class WebhookLinks(BaseModel):
    """URLs of a webhook."""

    self: str
    deliveries: str


class WebhookResponse(BaseModel):
    """A webhook; its secret is only told when it is made or rotated."""

    id: str
    url: str
    events: list[Event]
    description: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None = Field(description="gone: the receiver has answered 410")
    created_at: datetime
    links: WebhookLinks

    @classmethod
    def of(cls, endpoint: Endpoint, **more: Any) -> Self:
        """The response for a stored endpoint."""
        home = public_url(f"/v1/webhooks/{endpoint.id}")
        return cls(
            **endpoint.model_dump(include={"id", "url", "description", "disabled_reason"}),
            events=[event for event in EVENTS if event in endpoint.events],
            enabled=endpoint.disabled_at is None,
            disabled_at=_time(endpoint.disabled_at),
            created_at=datetime.fromtimestamp(endpoint.created_at, UTC),
            links=WebhookLinks(self=home, deliveries=f"{home}/deliveries"),
            **more,
        )


class WebhookList(BaseModel):
    """The webhooks of a tenant, oldest first."""

    webhooks: list[WebhookResponse]


class CreatedWebhook(WebhookResponse):
    """A new webhook, with the secret that its receiver verifies signatures with."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class SecretResponse(BaseModel):
    """A secret of Standard Webhooks, and when the one before it ceases to sign."""

    secret: str
    previous_expires_at: datetime | None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The newest secret of an endpoint."""
        previous = endpoint.secrets[1].expires_at if len(endpoint.secrets) > 1 else None
        return cls(secret=endpoint.secrets[0].value, previous_expires_at=_time(previous))


class DeliveryResponse(BaseModel):
    """One event of one job for one webhook."""

    id: str = Field(description="the header `webhook-id` of every attempt at it")
    event: Event
    job_id: str
    url: str
    status: DeliveryStatus
    attempts: int = Field(description="requests that were made, those that were not answered included")
    response_status: int | None = Field(description="of the last attempt; null: there was no answer")
    error: str | None = Field(description="why there was none")
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery, endpoint: Endpoint) -> Self:
        """The response for a stored delivery."""
        return cls(
            id=delivery.message_id,
            event=delivery.event,
            job_id=delivery.job,
            url=delivery.url or endpoint.url,
            status=delivery.status,
            attempts=delivery.attempts,
            response_status=delivery.response_status,
            error=delivery.error or None,
            created_at=datetime.fromtimestamp(delivery.created_at, UTC),
            last_attempt_at=_time(delivery.last_attempt_at),
            next_attempt_at=_time(delivery.next_attempt_at),
        )


class DeliveryPage(BaseModel):
    """Deliveries, newest first; ``next_cursor`` asks for the page after this one."""

    deliveries: list[DeliveryResponse]
    next_cursor: str | None


class ReplayResponse(BaseModel):
    """How many deliveries are sent again."""

    replayed: int


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
