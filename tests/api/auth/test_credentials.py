"""Where a request carries its key or its session."""

import base64

import pytest

from api.auth.credentials import Credentials, read_credentials


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer swk_a_b", "swk_a_b"),
        ("bearer  swk_a_b", "swk_a_b"),
        (basic("anybody:swk_a_b"), "swk_a_b"),
        (basic(":swk_a_b"), "swk_a_b"),
        (basic("swk_a_b:"), "swk_a_b"),
        (basic("swk_a_b"), "swk_a_b"),
        ("Basic !!!", ""),
        ("Basic", ""),
        ("Digest username=x", ""),
        ("swk_a_b", ""),
        ("", ""),
    ],
)
def test_a_key_is_bearers_token_or_basics_password(header: str, key: str) -> None:
    assert read_credentials({"HTTP_AUTHORIZATION": header}) == Credentials("key", key)


def test_a_header_counts_before_a_cookie() -> None:
    cookie = {"HTTP_COOKIE": "other=1; swift_session=token"}
    assert read_credentials(cookie) == Credentials("session", "token")
    assert read_credentials({**cookie, "HTTP_AUTHORIZATION": "Bearer k"}) == Credentials("key", "k")


@pytest.mark.parametrize("cookies", ["", "swift_session=", "other=swift_session", "swift_sessions=1", ";;="])
def test_without_either_there_are_none(cookies: str) -> None:
    assert read_credentials({"HTTP_COOKIE": cookies}) is None
    assert read_credentials({}) is None
