"""Tenants from a shell: which calls of the API the commands make."""

import json
from typing import Any

import pytest

from infra.cli.__main__ import main
from tests.infra.cli.scripted_api import scripted_api

ACME = {
    "id": "acme",
    "name": "Acme",
    "weight": 2.0,
    "priorities": ["normal"],
    "limits": {"requests_per_s": 5, "lora_bytes": None},
}


def answer(body: Any) -> list[tuple[int, bytes]]:
    return [(200, json.dumps(body).encode())]


def test_create_sends_what_was_given_and_nothing_else() -> None:
    with scripted_api({"/v1/tenants": answer(ACME)}) as api:
        assert main(["tenants", "create", "acme", "--api", api.url]) == 0
        words = ["--weight", "2", "--priority", "normal", "--limit", "requests_per_s=5", "--name", "Acme"]
        assert main(["tenants", "create", "acme", *words, "--api", api.url]) == 0
    assert [body for _, _, body in api.requests] == [
        {"id": "acme"},
        {
            "id": "acme",
            "weight": 2.0,
            "priorities": ["normal"],
            "limits": {"requests_per_s": 5},
            "name": "Acme",
        },
    ]


def test_set_takes_a_limit_away_with_none() -> None:
    with scripted_api({"/v1/tenants/acme": answer(ACME)}) as api:
        assert main(["tenants", "set", "acme", "--limit", "lora_bytes=none", "--api", api.url]) == 0
        assert main(["tenants", "set", "acme", "--api", api.url]) == 2
    assert api.requests == [("PATCH", "/v1/tenants/acme", {"limits": {"lora_bytes": None}})]


@pytest.mark.parametrize("limit", ["jobs=5", "lora_bytes", "lora_bytes=many", "lora_bytes="])
def test_a_wrong_limit_is_a_usage_error(limit: str) -> None:
    assert main(["tenants", "set", "acme", "--limit", limit]) == 2


def test_ls_lists_all_pages(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "/v1/tenants?cursor=": answer({"tenants": [ACME], "next_cursor": "acme"}),
        "/v1/tenants?cursor=acme": answer({"tenants": [{**ACME, "id": "zeta"}], "next_cursor": None}),
    }
    with scripted_api(answers) as api:
        assert main(["tenants", "ls", "--api", api.url]) == 0
        table = capsys.readouterr().out.splitlines()
        assert main(["tenants", "ls", "--json", "--api", api.url]) == 0
    assert [line.split()[0] for line in table] == ["ID", "acme", "zeta"]
    assert table[1].split() == ["acme", "Acme", "2", "normal", "requests_per_s=5"]
    assert [tenant["id"] for tenant in json.loads(capsys.readouterr().out)] == ["acme", "zeta"]


def test_rm_deletes_the_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_api({"/v1/tenants/acme": [(204, b"")]}) as api:
        assert main(["tenants", "rm", "acme", "--api", api.url]) == 0
    assert api.requests == [("DELETE", "/v1/tenants/acme", None)]
    assert capsys.readouterr().out == "acme deleted\n"
