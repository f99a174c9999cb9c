"""Webhooks from a shell: which calls of the API the commands make."""

import json
from typing import Any

import pytest

from infra.cli.__main__ import main
from tests.infra.cli.scripted_api import Answers, ScriptedApi, scripted_api

WEBHOOK = {
    "id": "wh_1",
    "url": "https://example.com/",
    "events": ["job.failed"],
    "enabled": False,
    "disabled_reason": "gone",
}
DELIVERY = {
    "id": "msg_1",
    "status": "pending",
    "attempts": 2,
    "response_status": None,
    "error": "it refuses connections",
    "created_at": "2026-01-02T03:04:05Z",
    "next_attempt_at": "2026-01-02T03:09:05Z",
}


def answer(body: Any) -> list[tuple[int, bytes]]:
    return [(200, json.dumps(body).encode())]


def run(answers: Answers, *words: str) -> ScriptedApi:
    with scripted_api(answers) as api:
        assert main(["webhooks", *words, "--api", api.url]) == 0
    return api


def test_create_prints_the_id_and_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    made = answer({**WEBHOOK, "secret": "whsec_x"})
    api = run({"/v1/webhooks": made}, "create", "https://example.com/", "--event", "job.failed")
    assert capsys.readouterr().out == "wh_1 whsec_x\n"
    body = {"url": "https://example.com/", "description": "", "events": ["job.failed"]}
    assert api.requests == [("POST", "/v1/webhooks", body)]


def test_ls_says_which_are_disabled_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    run({"/v1/webhooks": answer({"webhooks": [WEBHOOK]})}, "ls")
    assert "disabled (gone)" in capsys.readouterr().out
    run({"/v1/webhooks": answer({"webhooks": [WEBHOOK]})}, "ls", "--json")
    assert json.loads(capsys.readouterr().out) == [WEBHOOK]


def test_rm_deletes_each(capsys: pytest.CaptureFixture[str]) -> None:
    gone = [(204, b"")]
    api = run({"/v1/webhooks/wh_1": gone, "/v1/webhooks/a%2Fb": gone}, "rm", "wh_1", "a/b")
    assert [request[:2] for request in api.requests] == [
        ("DELETE", "/v1/webhooks/wh_1"),
        ("DELETE", "/v1/webhooks/a%2Fb"),
    ]


def test_secrets_are_printed_and_rotated(capsys: pytest.CaptureFixture[str]) -> None:
    told = answer({"secret": "whsec_x", "previous_expires_at": None})
    run({"/v1/webhooks/default/secret": told}, "secret")
    run({"/v1/webhooks/default/rotate": told}, "rotate")
    api = run({"/v1/webhooks/wh_1/rotate": told}, "rotate", "wh_1")
    assert capsys.readouterr().out == "whsec_x\n" * 3
    assert api.requests[0][:2] == ("POST", "/v1/webhooks/wh_1/rotate")


def test_deliveries_show_the_answer_or_why_there_was_none(capsys: pytest.CaptureFixture[str]) -> None:
    page = answer({"deliveries": [DELIVERY, DELIVERY | {"response_status": 503}], "next_cursor": None})
    run({"/v1/webhooks/default/deliveries?limit=50": page}, "deliveries")
    out = capsys.readouterr().out
    assert "it refuses connections" in out
    assert "503" in out
    assert "2026-01-02 03:09" in out


def test_deliveries_of_one_job_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    page = answer({"deliveries": [DELIVERY], "next_cursor": None})
    run(
        {"/v1/webhooks/wh_1/deliveries?job=abc": page},
        "deliveries",
        "wh_1",
        "--job",
        "abc",
    )
    assert DELIVERY["id"] in capsys.readouterr().out


def test_replay_sends_the_named_or_all_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    replayed = {"/v1/webhooks/wh_1/replay": answer({"replayed": 2})}
    named = run(replayed, "replay", "wh_1", "msg_1", "msg_2")
    failed = run(replayed, "replay", "wh_1")
    assert [api.requests[0][2] for api in (named, failed)] == [{"deliveries": ["msg_1", "msg_2"]}, {}]
    assert capsys.readouterr().out == "2 are sent again\n" * 2
