"""``.run/env``, and what the processes of a stack inherit."""

import subprocess
from pathlib import Path

import pytest

from infra.local.environment import (
    inherit,
    make_credentials,
    make_login,
    read_env_file,
    stack_variables,
    variables_of,
    write_env_file,
)
from shared.settings import Settings, read_settings
from shared.tenants.api_key import ApiKey

AWKWARD = {"SWIFT_HOME": "/tmp/two words", "SWIFT_REDIS_URL": "redis://:pa$s'w#d@h:1/0?a=b&c=d", "EMPTY": ""}


def test_an_env_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_env_file(tmp_path / "env", AWKWARD)
    assert read_env_file(tmp_path / "env") == AWKWARD


def test_a_shell_sources_an_env_file_to_the_same_values(tmp_path: Path) -> None:
    write_env_file(tmp_path / "env", AWKWARD)
    script = f"set -a; . {tmp_path / 'env'}; exec env"
    shell = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/bin:/usr/bin"}
    )
    assert set(shell.stdout.splitlines()) >= {f"{name}={value}" for name, value in AWKWARD.items()}


def test_only_its_owner_reads_an_env_file(tmp_path: Path) -> None:
    write_env_file(tmp_path / "env", {"AWS_SECRET_ACCESS_KEY": "secret"})
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600


def test_a_restart_keeps_the_credentials(tmp_path: Path) -> None:
    first = {**make_credentials({}), **make_login({})}
    write_env_file(tmp_path / "env", first)
    known = read_env_file(tmp_path / "env")
    assert {**make_credentials(known), **make_login(known)} == first


def test_two_folders_have_different_credentials() -> None:
    assert make_credentials({}) != make_credentials({})
    assert make_login({}) != make_login({})


def test_settings_survive_the_way_through_the_environment(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, api_port=7001, worker_controlnets=("edge", "colour"), lease_s=2.5)
    assert read_settings(variables_of(settings)) == settings


def test_flowers_login_may_be_a_setting() -> None:
    known = {"FLOWER_USER": "swift", "FLOWER_PASSWORD": "old"}
    assert make_login(known, "ann:a:b") == {"FLOWER_USER": "ann", "FLOWER_PASSWORD": "a:b"}
    assert make_login(known) == known


def test_processes_are_told_keys_by_a_file_alone(tmp_path: Path) -> None:
    key = str(ApiKey.random())
    secret = {"bootstrap_key": key, "api_key": key, "flower_basic_auth": "ann:hunter2"}
    settings = Settings.model_validate({"home": tmp_path, "auth": "keys", **secret})
    told = stack_variables(settings, tmp_path / "key")
    assert (told["SWIFT_AUTH"], told["SWIFT_BOOTSTRAP_KEY_FILE"]) == ("keys", str(tmp_path / "key"))
    assert told["SWIFT_API_KEY_FILE"] == str(tmp_path / "key")
    assert not {key, "ann:hunter2"} & set(told.values())
    assert stack_variables(Settings(api_port=7001), None) == {"SWIFT_API_PORT": "7001"}


def test_settings_nobody_gave_stay_unset() -> None:
    assert variables_of(Settings(api_port=7001)) == {"SWIFT_API_PORT": "7001"}


def test_processes_inherit_the_environment_but_no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_API_PORT", "1")
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    inherited = inherit({"SWIFT_FLOWER_PORT": "2"})
    assert inherited["SOMETHING_ELSE"] == "kept"
    assert "SWIFT_API_PORT" not in inherited
    assert "FLOWER_UNAUTHENTICATED_API" not in inherited
    assert inherited["SWIFT_FLOWER_PORT"] == "2"


def test_a_session_of_another_s3_does_not_reach_the_embedded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another account")
    assert "AWS_SESSION_TOKEN" not in inherit(make_credentials({}))
    assert "AWS_SESSION_TOKEN" in inherit({})
