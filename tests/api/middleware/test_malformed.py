"""Whatever a request holds, the answer is a problem that the client can read, and never a 500."""

import json

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

JSON = "application/json"


def post(client: FlaskClient, body: bytes | str) -> TestResponse:
    return client.post("/v1/jobs", data=body, content_type=JSON)


def refused(answer: TestResponse, *statuses: int) -> dict[str, object]:
    """The problem that ``answer`` is."""
    assert answer.status_code in statuses, answer.get_data()
    assert answer.content_type == "application/problem+json"
    problem: dict[str, object] = json.loads(answer.get_data().decode("utf-8"))
    assert problem["status"] == answer.status_code
    return problem


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"receipt": {}, "%s": 1}', "HALF"),
        ('{"%s": 1}', "HALF"),
        ('{"prompt": "%s"}', "prompt"),
        ('{"prompt": "a", "model": "%s"}', "model"),
        ('{"prompt": "a", "controlnets": [{"name": "%s"}]}', "controlnets.0.name"),
        ('{"prompt": "a", "loras": [{"name": "x", "scale": {"%s": 1}}]}', "loras.0.scale.HALF"),
        ('{"receipt": {"versions": {"a": "%s"}}}', "receipt.versions.a"),
        ('{"receipt": {"%s": {"a": [1]}}}', "receipt.HALF"),
    ],
)
@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "a\\ude00b"])
def test_half_a_surrogate_pair_is_refused_where_it_stands(
    client: FlaskClient, body: str, field: str, half: str
) -> None:
    problem = refused(post(client, body % half), 422)
    assert problem["field"] == field.replace("HALF", half)


def test_whole_pairs_are_characters(client: FlaskClient) -> None:
    answer = post(client, '{"prompt": "\\ud83d\\ude00 and 😀"}')
    assert answer.status_code == 202
    assert client.get(f"/v1/jobs/{answer.json['id']}").json["request"]["prompt"] == "😀 and 😀"


def nested(depth: int) -> str:
    return '{"receipt": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize("depth", [65, 255, 256, 900, 1100, 100_000])
def test_nesting_has_an_end(client: FlaskClient, depth: int) -> None:
    problem = refused(post(client, nested(depth)), 400)
    assert "nested" in str(problem["detail"]) or "values" in str(problem["detail"])
    refused(post(client, nested(depth).replace("[", '{"a":').replace("]", "1}", 1).replace("]", "}")), 400)


def test_nesting_that_is_not_too_deep_is_only_no_receipt(client: FlaskClient) -> None:
    refused(post(client, nested(50)), 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"prompt": "a", "seed": 1e999}', 422),
        ('{"prompt": "a", "guidance_scale": -1e999}', 422),
        ('{"prompt": "a", "guidance_scale": Infinity}', 422),
        ('{"receipt": {"scheduler_config": {"x": NaN}}}', 422),
        ('{"prompt": "a", "seed": %s}' % ("9" * 5000), 400),
        ('{"prompt": "a", "seed": %s}' % ("9" * 400), 422),
        ('{"prompt": "a", "width": 1e308}', 422),
        ('{"prompt": "a", "prompt": "b"}', 400),
        ('{"receipt": {"seed": 1, "seed": 2}}', 400),
        ('{"prompt": "a\\u0000b", "width": 63}', 422),
        ('{"prompt": "a", "a\\u0000b": 1}', 422),
        ('{"prompt": "a" "b"}', 400),
        ("{'prompt': 'a'}", 400),
        ('{"prompt": "a\nb"}', 400),
        ('{"prompt": "a"} {}', 400),
        ('{"prompt": "\\x41"}', 400),
        ("[" + "1," * 60_000 + "1]", 400),
        ("", 400),
        (" ", 400),
        ("[]", 422),
        ('"a"', 422),
    ],
)
def test_json_that_is_ambiguous_or_none_is_refused(client: FlaskClient, body: str, status: int) -> None:
    refused(post(client, body), status)


@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "a"}'.encode("utf-16"),
        '{"prompt": "a"}'.encode("utf-16-le"),
        '{"prompt": "a"}'.encode("utf-32"),
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\xc0\x80"}',
        b"\x00",
        b"\x1f\x8b\x08",
    ],
)
def test_json_is_utf_8(client: FlaskClient, body: bytes) -> None:
    refused(post(client, body), 400)


def test_a_byte_order_mark_does_no_harm(client: FlaskClient) -> None:
    assert post(client, '\ufeff{"prompt": "a"}'.encode()).status_code == 202


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/%ff",
        "/v1/jobs/%ed%a0%80",
        "/v1/jobs/%00",
        "/v1/jobs/%0d%0aX-Header:%20x",
        "/v1/jobs/x/images/" + "9" * 5000,
        "/v1/jobs/x/images/-1",
        "/v1/jobs/x/images/٣",
        "/v1/jobs/x/controlnets/" + "9" * 5000 + "/image",
        "/v1/jobs/" + "x" * 5000,
        "/v1/loras/%ff",
        "/v1/loras/%00",
        "/v1/loras/" + "x" * 5000,
        "/v1/loras/..%2f..%2fx",
        "/v1/jobs?status=%ff",
        "/v1/jobs?limit=%ed%a0%80",
        "/v1/jobs?limit=" + "9" * 5000,
        "/v1/jobs?cursor=%00",
        "/v1/jobs?cursor=%ed%a0%80&cursor=x",
        "/v1/jobs?%ff=%fe",
        "/v1/jobs?%zz",
        "/v1/jobs?;&&=&=x",
        "/v1/loras?cursor=%ff",
        "/v1/models?x=%ff",
        "//v1/jobs",
        "/%2e%2e/v1",
    ],
)
def test_no_path_and_no_query_is_a_bug(client: FlaskClient, path: str) -> None:
    for method in ("GET", "DELETE", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW"):
        answer = client.open(path, method=method)
        assert answer.status_code < 500, answer.get_data()
        if answer.status_code >= 400:
            refused(answer, answer.status_code)


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "\xff"},
        {"Idempotency-Key": "x" * 5000},
        {"Idempotency-Key": "\x01"},
        {"Content-Type": "application/json; charset=utf-99"},
        {"Content-Type": "application/json; charset=\xff"},
        {"Content-Type": "\xff"},
        {"Content-Encoding": "\xff"},
        {"Accept-Encoding": "\xff;q=x"},
        {"Accept": "\xff"},
        {"Last-Event-ID": "\xff"},
        {"If-None-Match": '"\xff'},
        {"If-Modified-Since": "\xff"},
        {"Range": "bytes=\xff"},
        {"Cookie": "\xff=\xff; ;;"},
        {"Authorization": "Basic \xff"},
        {"X-Forwarded-For": "\xff"},
        {"Forwarded": "\xff"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x/events", "/v1/jobs/x/images/0", "/v1/loras/x"])
def test_no_header_is_a_bug(client: FlaskClient, headers: dict[str, str], path: str) -> None:
    for method in ("GET", "POST"):
        body = {} if "Content-Type" in headers else {"content_type": JSON}
        answer = client.open(path, method=method, headers=headers, data=b'{"prompt": "a"}', **body)  # type: ignore[arg-type]
        assert answer.status_code < 500, answer.get_data()
        if answer.status_code >= 400:
            refused(answer, answer.status_code)
