"""The client against a server that gives scripted answers."""

import ast
import base64
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.cli import client as module
from infra.cli.client import ApiError, Client
from tests.infra.cli.scripted_api import events, job_answers, scripted_api

PROBLEM = b'{"code": "invalid_request", "detail": "unknown model", "field": "model"}'


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)


def test_it_is_one_file_that_needs_nothing_but_requests() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"requests"}


def test_generate_submits_follows_and_fetches(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    control = tmp_path / "map.png"
    control.write_bytes(b"control")
    with scripted_api(job_answers()) as api:
        result = Client(api.url).generate(
            "a cat",
            seed=7,
            loras={"twemoji": 0.8},
            controlnets={"edge": control},
            on_progress=lambda step, total: steps.append((step, total)),
        )
    assert api.requests[0] == (
        "POST",
        "/v1/jobs",
        {
            "prompt": "a cat",
            "seed": 7,
            "loras": [{"name": "twemoji", "scale": 0.8}],
            "controlnets": [{"name": "edge", "image": base64.b64encode(b"control").decode()}],
        },
    )
    assert steps == [(3, 6)]
    paths = result.save(tmp_path / "cat.png")
    assert [path.name for path in paths] == ["cat-0.png", "cat-1.png"]
    assert [path.read_bytes() for path in paths] == [b"PNG 0", b"PNG 1"]


@pytest.mark.parametrize("prefix", ["", "/images-api"])
def test_links_count_from_the_host_and_paths_from_the_prefix_of_a_proxy(prefix: str) -> None:
    with scripted_api({f"{prefix}/v1/models": [(200, b"{}")]}) as api:
        client = Client(f"{api.url}{prefix}/")
        assert client.read("/v1/models") == client.read(f"{prefix}/v1/models") == {}


def test_a_job_that_fails_raises_with_its_code() -> None:
    failed = job_answers("failed", error={"code": "invalid_lora", "detail": "no such module"})
    with scripted_api(failed) as api, pytest.raises(ApiError, match="no such module") as raised:
        Client(api.url).generate("a cat")
    assert raised.value.code == "invalid_lora"


def test_an_interrupt_cancels_the_job() -> None:
    def interrupt(step: int, total: int) -> None:
        raise KeyboardInterrupt

    with scripted_api(job_answers()) as api:
        with pytest.raises(KeyboardInterrupt):
            Client(api.url).generate("a cat", on_progress=interrupt)
        assert api.requests[-1][:2] == ("POST", "/v1/jobs/ab12/cancel")


def test_a_refusal_is_one_sentence_with_its_field() -> None:
    with scripted_api({"/v1/jobs": [(422, PROBLEM)]}) as api:
        with pytest.raises(ApiError, match=r"^422 invalid_request: model: unknown model$") as raised:
            Client(api.url).submit({})
        assert (raised.value.status, raised.value.field) == (422, "model")
        assert len(api.requests) == 1


def test_a_submission_that_meets_a_restart_is_sent_again_with_the_same_key() -> None:
    away = (503, b'{"code": "unavailable", "detail": "Redis does not answer"}')
    answers = job_answers()
    answers["/v1/jobs"].insert(0, away)
    with scripted_api(answers) as api:
        assert Client(api.url).submit({"prompt": "a cat"})["id"] == "ab12"
    assert len(api.keys) == 2
    assert len(set(api.keys)) == 1


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (404, b"<html>"), (200, b"[]")])
def test_a_server_that_is_no_fleet_is_recognised(status: int, body: bytes) -> None:
    with (
        scripted_api({"/page": [(status, body)]}) as api,
        pytest.raises(ApiError, match="not as a fleet's API"),
    ):
        Client(api.url).read("/page")


def test_a_stream_that_breaks_off_is_resumed_after_its_last_event() -> None:
    status: tuple[str, dict[str, Any]] = ("status", {"status": "running"})
    rest = b'id: 2-0\nevent: done\ndata: {"status": "succeeded"}\n\n'
    with scripted_api(
        {"/e": [(200, events(status) + b": a comment\n\n")], "/e after 1-0": [(200, rest)]}
    ) as api:
        assert [data["status"] for _, data in Client(api.url).events("/e")] == ["running", "succeeded"]


def test_several_jobs_are_followed_over_one_stream_until_all_have_ended() -> None:
    path = "/v1/events?job=a&job=b"
    first = events(("done", {"job": "a", "status": "succeeded"}), ("progress", {"job": "b", "step": 1}))
    gone = b'event: done\ndata: {"job": "b", "status": "deleted"}\n\n'
    with scripted_api({path: [(200, first)], f"{path} after 2-0": [(200, gone)]}) as api:
        seen = list(Client(api.url).follow(["a", "b"]))
    assert [(kind, data["job"]) for kind, data in seen] == [("done", "a"), ("progress", "b"), ("done", "b")]


def test_an_id_without_an_event_is_what_a_stream_is_resumed_after() -> None:
    done = events(("done", {"job": "a", "status": "failed"}))
    answers = {"/v1/events": [(200, b"retry: 1000\nid: 7-0\n\n")], "/v1/events after 7-0": [(200, done)]}
    with scripted_api(answers) as api:
        assert next(Client(api.url).follow()) == ("done", {"job": "a", "status": "failed"})


def test_a_stream_that_has_nothing_more_to_come_is_not_resumed() -> None:
    path = "/v1/events?job=a"
    with scripted_api({path: [(204, b"")]}) as api:
        assert list(Client(api.url).follow(["a"])) == []
        assert len(api.requests) == 1


def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    breaks = [requests.exceptions.ChunkedEncodingError("Connection broken")]
    whole = requests.request

    def request(*args: Any, **options: Any) -> requests.Response:
        if breaks:
            raise breaks.pop()
        return whole(*args, **options)

    monkeypatch.setattr(requests, "request", request)
    with scripted_api({"/image": [(200, b"PNG")]}) as api:
        assert Client(api.url).fetch("/image") == b"PNG"


@pytest.mark.parametrize(
    "event", [b"data: {}", b"id: 1\nevent: done\ndata: {", b"id: \xff\ndata: x\nevent: e"]
)
def test_a_stream_that_is_no_fleets_is_recognised(event: bytes) -> None:
    with (
        scripted_api({"/e": [(200, event + b"\n\n")]}) as api,
        pytest.raises(ApiError, match=r"not as a fleet's API|the stream of events ended"),
    ):
        list(Client(api.url).events("/e"))


def test_a_request_that_is_no_json_is_not_blamed_on_the_network() -> None:
    with pytest.raises(ApiError, match="the request is no JSON"):
        Client("http://127.0.0.1:9").submit({"guidance_scale": float("nan")})


def test_a_stream_of_a_job_that_is_gone_ends_with_the_refusal() -> None:
    gone = b'{"code": "not_found", "detail": "there is no job"}'
    with scripted_api({"/e": [(404, gone)]}) as api:
        with pytest.raises(ApiError, match="404 not_found"):
            list(Client(api.url).events("/e"))
        assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9", "connection refused; is the fleet running?"),
        ("http://no-such-host.invalid", "there is no such host"),
        ("127.0.0.1:8080", "the address must begin with http:// or https://"),
        ("localhost", "the address must begin with http:// or https://"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ApiError) as raised:
        Client(url).read("/v1/models")
    assert str(raised.value).startswith(f"no answer from {url}: {reason}")
    assert "urllib3" not in str(raised.value)
