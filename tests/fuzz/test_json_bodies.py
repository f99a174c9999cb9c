"""Bodies of submissions that are random, or nearly right: each is accepted or refused with a reason."""

import json
from typing import Any

from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.api.services import base64_of, edge, image_file
from tests.fuzz.values import JSON, change

REQUEST: dict[str, Any] = {
    "prompt": "a red apple",
    "negative_prompt": "",
    "model": "emoji-sd",
    "width": 64,
    "height": 64,
    "num_inference_steps": 5,
    "guidance_scale": 3.0,
    "scheduler": "euler",
    "seed": 7,
    "num_images": 1,
    "timesteps": None,
    "sigmas": None,
    "strength": 0.5,
    "image": base64_of(image_file((16, 16))),
    "controlnets": [edge(preprocessor="canny", preprocessor_options={"low_threshold": 50})],
    "loras": [{"name": "paper", "scale": {"unet": {"up": {"block_1": [0.5, 1.0]}}, "text_encoder": 0.5}}],
    "lora_loading": {"mode": "bounded", "max_async_steps": 2},
    "original_size": [64, 64],
}


def check(client: FlaskClient, answer: TestResponse) -> None:
    """It is a job that can be read, or a problem that says what is wrong."""
    assert answer.status_code in (202, 400, 413, 415, 422), answer.text
    if answer.status_code == 202:
        job = client.get(answer.headers["Location"])
        assert (job.status_code, job.json["id"]) == (200, answer.json["id"])
    else:
        assert answer.content_type == "application/problem+json"
        assert answer.json["detail"]
        assert len(answer.data) < 100_000


@given(body=JSON)
def test_any_json_is_answered(client: FlaskClient, body: Any) -> None:
    check(client, client.post("/v1/jobs", data=json.dumps(body), content_type="application/json"))


@given(data=st.data())
def test_a_request_with_changes_is_answered(client: FlaskClient, data: st.DataObject) -> None:
    body = change(REQUEST | {"loras": data.draw(st.sampled_from([[], REQUEST["loras"]]))}, data)
    check(client, client.post("/v1/jobs", data=json.dumps(body), content_type="application/json"))


@given(cut=st.integers(0, 600), rubbish=st.binary(max_size=20))
def test_a_body_that_is_no_json_is_answered(client: FlaskClient, cut: int, rubbish: bytes) -> None:
    body = json.dumps({"prompt": "a cat", "seed": 7, "loras": [{"name": "é"}]}).encode()
    data = body[:cut] + rubbish
    check(client, client.post("/v1/jobs", data=data, content_type="application/json"))
