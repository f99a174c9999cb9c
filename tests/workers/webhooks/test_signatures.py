import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.webhooks.endpoint import new_secret
from workers.webhooks.signatures import sign

PAYLOAD = '{"type": "job.succeeded"}'


def test_receivers_verify_with_the_library_of_standard_webhooks() -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", time.time(), PAYLOAD)
    assert Webhook(secret).verify(PAYLOAD, headers) == {"type": "job.succeeded"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(PAYLOAD.replace("succeeded", "failed"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(PAYLOAD, headers | {"webhook-id": "msg_2"})
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(PAYLOAD, headers)


def test_while_a_secret_is_replaced_both_verify() -> None:
    old, new = new_secret(), new_secret()
    headers = sign([new, old], "msg_1", time.time(), PAYLOAD)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(PAYLOAD, headers)


def test_an_old_message_is_refused_by_receivers_as_a_repeat() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(PAYLOAD, sign([secret], "msg_1", time.time() - 3600, PAYLOAD))
