"""Prompts of ``POST /v1/jobs`` in A1111's syntax: what is refused, and where; what becomes of LoRAs."""

import hashlib
from contextlib import suppress
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.prompts.read_prompts import read_prompts
from shared.errors import InvalidRequest
from shared.jobs.options import MAX_LORAS
from tests.api.services import lora, receipt_of, resolved, upload

MARKS = ["(", ")", "[", "]", ":1.2)", ":0.5]", "|", "AND", " BREAK ", "a", " ", "\\", "<lora:a:1>", "<lora:"]


def request(prompt: str = "a cat", **changes: Any) -> JobRequest:
    return JobRequest.model_validate({"prompt": prompt, "prompt_syntax": "a1111", **changes})


def test_plain_prompts_are_left_as_they_are(services: Services) -> None:
    prompt = "a ((cat BREAK [b:0.5] AND <lora:x:1> (a:1.2.3)"
    spec = resolved(JobRequest(prompt=prompt, negative_prompt=prompt), services)
    assert (spec.prompt, spec.negative_prompt, spec.loras) == (prompt, prompt, [])
    assert spec.prompt_syntax == "plain"


def test_loras_of_the_prompt_join_those_of_the_request() -> None:
    named = request("a <lora:ink.safetensors:0.5>cat<lora:oil>", loras=[{"name": "x", "scale": 0.3}])
    read, fields = read_prompts(named)
    assert read.prompt == "a cat"
    assert [(one.name, one.scale) for one in read.loras] == [("x", 0.3), ("ink", 0.5), ("oil", 1.0)]
    assert fields == ["loras.0.name", "prompt", "prompt"]


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"prompt": "a (b:1.2.3)"}, "prompt", "'1.2.3' is no weight (at character 6)"),
        ({"prompt": "<lora:x:1> [a:b:0.5]"}, "prompt",
         "'[a:b:0.5]': prompt editing is not supported (at character 12)"),
        ({"prompt": "a <lora:x:1>[b|<lora:y:1>c]"}, "prompt",
         "'[b|c]': alternating words are not supported (at character 13)"),
        ({"prompt": "<lora:x:1>a AND b"}, "prompt",
         "AND (composable diffusion) is not supported; in lower case it is a word (at character 13)"),
        ({"prompt": "a", "negative_prompt": "b [c:3]"}, "negative_prompt",
         "'[c:3]': prompt editing is not supported (at character 3)"),
        ({"prompt": "a", "negative_prompt": "b <lora:x:1>"}, "negative_prompt",
         "LoRA 'x': only the field prompt may name LoRAs (at character 3)"),
        ({"prompt": "a", "prompt_2": "b AND c"}, "prompt_2",
         "AND (composable diffusion) is not supported; in lower case it is a word (at character 3)"),
        ({"prompt": "a", "negative_prompt_2": "(b:.)"}, "negative_prompt_2",
         "'.' is no weight (at character 4)"),
        ({"prompt": "<lora:x:1> <lora:x.safetensors:2>"}, "prompt",
         "LoRA 'x' is named twice (at character 12)"),
        ({"prompt": "a <lora:x:1>", "loras": [{"name": "x"}]}, "prompt",
         "LoRA 'x' is named twice (at character 3)"),
        ({"prompt": "<lora:x:10.5>"}, "prompt",
         "scale of a LoRA: Input should be less than or equal to 10 (at character 1)"),
        ({"prompt": "<lora:x:1e999>"}, "prompt",
         "scale of a LoRA: Input should be a finite number (at character 1)"),
        ({"prompt": "".join(f"<lora:{i}:1>" for i in range(17))}, "prompt",
         "the prompt and loras name 17 LoRAs, the limit is 16"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_their_field_and_position(
    changes: dict[str, Any], field: str, detail: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_prompts(request(**changes))
    assert (refused.value.field, str(refused.value)) == (field, detail)


def test_a_name_that_no_lora_has_is_refused_with_its_position() -> None:
    with pytest.raises(InvalidRequest, match=r"name of a LoRA: '\.\./x' is no LoRA name.*\(at character 3\)"):
        read_prompts(request("a <lora:../x:1>"))


def test_the_negative_prompt_may_have_the_word_and() -> None:
    assert read_prompts(request(negative_prompt="BAD AND UGLY :2")).request.negative_prompt is not None


@given(*[st.text(max_size=40) | st.lists(st.sampled_from(MARKS), max_size=20).map("".join)] * 2)
def test_what_was_read_is_read_again_as_it_is(prompt: str, negative: str) -> None:
    # As a replay does: a receipt has the prompt without tags, and the LoRAs
    with suppress(InvalidRequest):
        read = read_prompts(request(prompt, negative_prompt=negative)).request
        again = read_prompts(JobRequest.model_validate(read.model_dump(mode="json"))).request
        assert (again.prompt, again.negative_prompt, again.loras) == (read.prompt, negative, read.loras)


def test_as_many_loras_as_the_limit_are_taken() -> None:
    tags = "".join(f"<lora:{i}:1>" for i in range(MAX_LORAS - 1))
    assert len(read_prompts(request(tags, loras=[{"name": "x"}])).request.loras) == MAX_LORAS


def test_a_job_has_the_loras_that_its_prompt_names(client: FlaskClient, services: Services) -> None:
    for name in ("ink", "oil"):
        assert upload(client, name, lora()).status_code == 201
    body = {"prompt": "a (cat)<lora:ink:0.5>", "prompt_syntax": "a1111", "loras": [{"name": "oil"}]}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    spec = services.jobs.get(answer.json["id"]).spec
    assert (spec.prompt, spec.prompt_syntax) == ("a (cat)", "a1111")
    assert [(one.name, one.scale) for one in spec.loras] == [("oil", 1.0), ("ink", 0.5)]


def test_an_unknown_lora_of_a_prompt_is_refused_as_any_other(client: FlaskClient) -> None:
    assert upload(client, "ink", lora()).status_code == 201
    answer = client.post("/v1/jobs", json={"prompt": "a <lora:oil:1>", "prompt_syntax": "a1111"})
    assert (answer.status_code, answer.json["field"]) == (422, "prompt")
    assert "known are ink" in answer.json["detail"]


def test_an_unknown_syntax_is_refused(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "prompt_syntax": "compel"})
    assert (answer.status_code, answer.json["field"]) == (422, "prompt_syntax")


def test_a_receipt_repeats_the_syntax_and_the_loras(client: FlaskClient, services: Services) -> None:
    assert upload(client, "ink", lora()).status_code == 201
    body = {"prompt": "a (cat:1.2) BREAK sun<lora:ink:0.5>", "prompt_syntax": "a1111"}
    spec = services.jobs.get(client.post("/v1/jobs", json=body).json["id"]).spec
    receipt = receipt_of(spec)
    used = receipt.loras[0].model_copy(update={"sha256": hashlib.sha256(lora()).hexdigest()})
    sealed = receipt.model_copy(update={"loras": [used]}).sealed()
    answer = client.post("/v1/jobs", json={"receipt": sealed.model_dump(mode="json")})
    assert answer.status_code == 202, answer.text
    replayed = services.jobs.get(answer.json["id"]).spec
    assert (replayed.prompt, replayed.prompt_syntax) == ("a (cat:1.2) BREAK sun", "a1111")
    assert replayed.loras == spec.loras
