"""Secrets that stand in files."""

from pathlib import Path

import pytest

from shared.errors import InvalidSetting
from shared.setting_checks.errors import SECRETS
from shared.settings import read_settings
from shared.tenants.api_key import ApiKey

KEY = str(ApiKey.random())
VALUES = {
    "redis_url": "redis://:hunter2@queue.example:6379/0",
    "residual_redis_url": "redis://:hunter2@tensors.example:6379/0",
    "bootstrap_key": KEY,
    "api_key": KEY,
    "flower_basic_auth": "user:hunter2",
}


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_stand_in_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{VALUES[name]}\n")
    from_file = read_settings({f"SWIFT_{name.upper()}_FILE": str(tmp_path / "secret")})
    assert from_file == read_settings({f"SWIFT_{name.upper()}": VALUES[name]})


def test_a_file_and_a_value_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(KEY)
    with pytest.raises(InvalidSetting, match="SWIFT_API_KEY and SWIFT_API_KEY_FILE are both set"):
        read_settings({"SWIFT_API_KEY_FILE": str(tmp_path / "secret"), "SWIFT_API_KEY": KEY})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        (b"", "must hold the secret on one line"),
        (b"\n \n", "must hold the secret on one line"),
        (b"one\ntwo\n", "must hold the secret on one line"),
        (b"x" * 100_000, "must hold the secret on one line"),
        (b"\xff\xfe", "is no file of text"),
    ],
)
def test_a_file_without_a_secret_stops_the_start(
    content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=sentence) as caught:
        read_settings({"SWIFT_BOOTSTRAP_KEY_FILE": str(path)})
    assert str(caught.value).startswith("SWIFT_BOOTSTRAP_KEY_FILE=")


def test_a_wrong_secret_of_a_file_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("swk_hunter2")
    with pytest.raises(InvalidSetting, match="SWIFT_BOOTSTRAP_KEY: it is not of the form") as caught:
        read_settings({"SWIFT_BOOTSTRAP_KEY_FILE": str(tmp_path / "secret")})
    assert "hunter2" not in str(caught.value)


def test_other_settings_have_no_file() -> None:
    with pytest.raises(InvalidSetting, match="SWIFT_API_PORT_FILE is no setting"):
        read_settings({"SWIFT_API_PORT_FILE": "/dev/null"})
