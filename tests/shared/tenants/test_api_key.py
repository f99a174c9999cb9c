"""The form of API keys, and how one that is cut or mistyped is told from a wrong one."""

import re

import pytest

from shared.tenants.api_key import ApiKey, check_api_key

KEY = ApiKey("0123456789ab", "0123456789abcdefghijABCDEFGHIJKL")


def test_a_key_is_its_prefix_id_secret_and_checksum() -> None:
    assert re.fullmatch(r"swk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", str(ApiKey.random()))
    assert str(KEY) == f"swk_0123456789ab_0123456789abcdefghijABCDEFGHIJKL{KEY.checksum}"
    assert ApiKey.parse(str(KEY)) == KEY


def test_no_two_keys_are_alike() -> None:
    made = {ApiKey.random() for _ in range(100)}
    assert len({key.id for key in made}) == len({key.secret for key in made}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swk_",
        "password",
        str(KEY)[:-1],
        f" {KEY}",
        f"{KEY}\n",
        f"{KEY}x",
        str(KEY).upper(),
        "swk_ä",
        "\ud800",
    ],
)
def test_what_is_no_key_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form swk_ID_SECRET") as caught:
        check_api_key(text)
    assert KEY.secret[:8] not in str(caught.value)


def test_a_mistyped_key_has_a_wrong_checksum() -> None:
    text = str(KEY)
    for i in range(4, len(text)):
        if text[i] != "_":
            mistyped = text[:i] + ("x" if text[i] != "x" else "y") + text[i + 1 :]
            with pytest.raises(ValueError, match="has a wrong checksum"):
                ApiKey.parse(mistyped)


def test_a_traceback_does_not_show_the_secret() -> None:
    assert repr(KEY) == "ApiKey('0123456789ab')"
