"""API keys from a shell: which calls of the API the commands make."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.cli.__main__ import main
from shared.tenants.api_key import ApiKey
from tests.infra.cli.scripted_api import scripted_api

KEY = {
    "id": "0123456789ab",
    "name": "server",
    "scopes": ["jobs", "loras"],
    "created_at": "2026-01-02T03:04:05Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}


def answer(body: Any) -> list[tuple[int, bytes]]:
    return [(200, json.dumps(body).encode())]


def test_create_prints_the_key_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_api({"/v1/tenants/acme/keys": answer({**KEY, "key": "swk_x_y"})}) as api:
        words = [
            "keys",
            "create",
            "acme",
            "--name",
            "server",
            "--scope",
            "jobs",
            "--scope",
            "fleet",
            "--api",
            api.url,
        ]
        assert main(words) == 0
    assert capsys.readouterr().out == "swk_x_y\n"
    assert api.requests == [
        ("POST", "/v1/tenants/acme/keys", {"name": "server", "scopes": ["jobs", "fleet"]})
    ]


def test_the_key_of_the_settings_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = str(ApiKey.random())
    (tmp_path / "key").write_text(key)
    monkeypatch.setenv("SWIFT_API_KEY_FILE", str(tmp_path / "key"))
    with scripted_api({"/v1/tenants/local/keys": answer({"keys": []})}) as api:
        assert main(["keys", "ls", "--api", api.url]) == 0
    assert api.authorizations == [f"Bearer {key}"]


def test_the_local_fleets_key_is_sent_to_the_local_fleet_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_HOME", str(tmp_path))
    (tmp_path / "key").write_text("swk_local\n")
    with scripted_api({"/v1/tenants/local/keys": answer({"keys": []})}) as api:
        (tmp_path / "env").write_text(f"API_URL={api.url}\nSWIFT_API_KEY_FILE={tmp_path / 'key'}\n")
        assert main(["keys", "ls"]) == 0
        assert main(["keys", "ls", "--api", api.url]) == 0
    assert api.authorizations == ["Bearer swk_local", None]


def test_ls_shows_which_keys_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        KEY,
        {**KEY, "id": "b", "revoked_at": KEY["created_at"]},
        {**KEY, "id": "c", "expires_at": KEY["created_at"]},
    ]
    with scripted_api({"/v1/tenants/local/keys": answer({"keys": found})}) as api:
        assert main(["keys", "ls", "--api", api.url]) == 0
        table = capsys.readouterr().out.splitlines()
        assert main(["keys", "ls", "--json", "--api", api.url]) == 0
    assert [line.split()[-1] for line in table] == ["STATE", "valid", "revoked", "expired"]
    assert json.loads(capsys.readouterr().out) == found


def test_rotate_and_revoke_name_the_key_in_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    home = "/v1/tenants/acme/keys"
    answers = {f"{home}/a%2Fb/rotate": answer({**KEY, "key": "swk_new"}), f"{home}/c": [(204, b"")]}
    with scripted_api(answers) as api:
        words = ["--tenant", "acme", "--api", api.url]
        assert main(["keys", "rotate", "a/b", "--overlap", "5", *words]) == 0
        assert main(["keys", "revoke", "c", *words]) == 0
    assert capsys.readouterr().out == "swk_new\nc revoked\n"
    assert api.requests == [("POST", f"{home}/a%2Fb/rotate", {"overlap_s": 5}), ("DELETE", f"{home}/c", None)]


def test_random_makes_a_key_without_an_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "random"]) == 0
    assert ApiKey.parse(capsys.readouterr().out.strip())


def test_a_refusal_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "scope_missing", "detail": "API key x lacks scope admin"}
    with scripted_api({"/v1/tenants/local/keys": [(403, json.dumps(problem).encode())]}) as api:
        assert main(["keys", "ls", "--api", api.url]) == 1
    assert capsys.readouterr().err == "swiftdiffusion: 403 scope_missing: API key x lacks scope admin\n"
