"""Webhook endpoints: where a tenant's events are sent, which of them, and the secrets that sign them."""

import base64
import re
import secrets
from typing import Annotated, Literal, Self, get_args

from pydantic import Field

from shared.message_base import Message

Event = Literal["job.started", "job.succeeded", "job.failed", "job.cancelled"]
EVENTS: tuple[Event, ...] = get_args(Event)
#: Of these a job has one.
ENDED: tuple[Event, ...] = EVENTS[1:]

#: How the names of events look, also of those that a later version will have.
_NAME = r"job\.[a-z_]{1,32}"
#: How long what names an event of a later version is left to that version: while it is rolled out, processes
#: of both run.
LEFT_S = 86_400.0

Events = Annotated[list[Event], Field(min_length=1, max_length=len(EVENTS))]
#: The endpoint of a tenant that stands for the webhooks of single jobs: it has secrets and no URL.
DEFAULT = "default"
#: Of a secret, as Standard Webhooks asks for: 24 to 64 bytes, behind this prefix.
SECRET_BYTES, SECRET_PREFIX = 32, "whsec_"
#: How long a secret still signs after a newer one was made, so that receivers can change theirs.
ROTATION_S = 86_400.0

DisabledReason = Literal["gone", "request"]


class JobWebhook(Message):
    """Where the events of one job are sent; they may be of a later version."""

    url: str
    events: list[str] = Field([*ENDED])


class SigningSecret(Message):
    """A secret in the form of Standard Webhooks; the newest of an endpoint does not expire."""

    value: str
    expires_at: float | None = None


class Endpoint(Message):
    """Where all of a tenant's jobs report; times are seconds since the epoch."""

    id: str
    url: str
    events: list[str]  # also those of a later version
    description: str = ""
    created_at: float
    secrets: list[SigningSecret]  # newest first, at most two
    disabled_at: float | None = None
    disabled_reason: DisabledReason | None = None  # gone: the receiver has answered 410

    def signing_secrets(self, now: float) -> list[str]:
        """The secrets that sign now, newest first: two for a day after a rotation."""
        return [one.value for one in self.secrets if one.expires_at is None or one.expires_at > now]

    def rotated(self, now: float) -> Self:
        """The same endpoint with a new secret; the present one signs for `ROTATION_S` longer."""
        present = self.secrets[0].model_copy(update={"expires_at": now + ROTATION_S})
        return self.model_copy(update={"secrets": [SigningSecret(value=new_secret()), present]})

    def disabled(self, reason: DisabledReason, now: float) -> Self:
        """The same endpoint, to which nothing is sent until it is enabled."""
        if self.disabled_at is not None:
            return self
        return self.model_copy(update={"disabled_at": now, "disabled_reason": reason})

    def enabled(self) -> Self:
        """The same endpoint, to which events are sent."""
        return self.model_copy(update={"disabled_at": None, "disabled_reason": None})


def is_of_later_version(event: str) -> bool:
    """Whether a name may be that of an event which this version does not know."""
    return event not in EVENTS and re.fullmatch(_NAME, event) is not None


def new_secret() -> str:
    """A random secret in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
