import base64

from shared.webhooks.endpoint import ENDED, ROTATION_S, Endpoint, SigningSecret, new_secret

ENDPOINT = Endpoint(
    id="wh_1",
    url="https://example.com/",
    events=list(ENDED),
    created_at=0,
    secrets=[SigningSecret(value="whsec_first")],
)


def test_secrets_are_random_and_of_the_form_of_standard_webhooks() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert one.startswith("whsec_")
    assert 24 <= len(base64.b64decode(one.removeprefix("whsec_"))) <= 64


def test_two_secrets_sign_while_one_replaces_the_other() -> None:
    rotated = ENDPOINT.rotated(now=100)
    newest, previous = rotated.signing_secrets(now=100)
    assert previous == "whsec_first"
    assert rotated.signing_secrets(now=100 + ROTATION_S) == [newest]


def test_a_second_rotation_drops_the_secret_before_the_last() -> None:
    twice = ENDPOINT.rotated(now=100).rotated(now=101)
    assert len(twice.signing_secrets(now=101)) == 2
    assert "whsec_first" not in twice.signing_secrets(now=101)


def test_the_first_reason_for_which_an_endpoint_is_disabled_stays() -> None:
    disabled = ENDPOINT.disabled("gone", 5).disabled("request", 6)
    assert (disabled.disabled_at, disabled.disabled_reason) == (5, "gone")
    assert disabled.enabled() == ENDPOINT
