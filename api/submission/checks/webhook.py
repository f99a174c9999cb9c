"""Webhooks: a URL that can never be sent to is refused at once; a host's name is checked when it is asked."""

from api.schemas.webhook_request import JobWebhookRequest
from api.services import Services
from shared.errors import InvalidRequest
from shared.webhooks.endpoint import JobWebhook


def check_webhook(webhook: JobWebhookRequest | None, services: Services) -> JobWebhook | None:
    """The webhook of a job as it is stored; raises `InvalidRequest`."""
    if webhook is None:
        return None
    check_webhook_url(webhook.url, services, field="webhook.url")
    return JobWebhook(url=webhook.url, events=list(webhook.events))


def check_webhook_url(url: str, services: Services, *, field: str) -> None:
    """Raise `InvalidRequest` for ``field`` unless ``url`` is one that webhooks may have."""
    try:
        services.webhook_targets.read(url)
    except ValueError as error:
        raise InvalidRequest(str(error), field=field) from None
