"""Headers of Standard Webhooks, by which a receiver knows who sent a webhook, and that it is no repeat."""

from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


def sign(secrets: Sequence[str], message_id: str, now: float, payload: str) -> dict[str, str]:
    """Id, time of this attempt, and a signature for each of the secrets: receivers need to know one."""
    seconds = int(now)
    moment = datetime.fromtimestamp(seconds, UTC)  # `Webhook.sign` takes any datetime for one of UTC
    signatures = [Webhook(secret).sign(message_id, moment, payload) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }
