import gzip
import json

import pytest
from flask.testing import FlaskClient

TAKES_GZIP = {"Accept-Encoding": "gzip, deflate"}


def test_large_json_is_compressed_for_who_takes_it(client: FlaskClient) -> None:
    plain = client.get("/openapi.json")
    packed = client.get("/openapi.json", headers=TAKES_GZIP)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content_length == len(packed.data) < len(plain.data) / 4
    assert gzip.decompress(packed.data) == plain.data
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip;q=0, identity"])
def test_who_does_not_take_it_gets_it_plain(client: FlaskClient, accepted: str) -> None:
    answer = client.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in answer.headers
    assert answer.json["openapi"]


def test_small_answers_are_not_worth_it(client: FlaskClient) -> None:
    answer = client.get("/healthz", headers=TAKES_GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.json["status"] == "ok"


def test_events_are_sent_as_they_come(client: FlaskClient) -> None:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    with client.get(f"/v1/jobs/{job_id}/events", headers=TAKES_GZIP) as answer:
        assert "Content-Encoding" not in answer.headers


def test_a_list_of_jobs_is_compressed(client: FlaskClient) -> None:
    for seed in range(20):
        client.post("/v1/jobs", json={"prompt": "a cat", "seed": seed})
    answer = client.get("/v1/jobs", headers=TAKES_GZIP)
    assert len(json.loads(gzip.decompress(answer.data))["jobs"]) == 20
