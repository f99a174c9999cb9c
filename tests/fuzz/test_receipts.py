"""Receipts that somebody changed: each is replayed as a request would be, or refused at a place within it."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.services import Services
from shared.jobs.receipt import Receipt
from tests.api.submission.test_replay import receipt_for
from tests.fuzz.values import JSON, change


@pytest.fixture
def receipt(services: Services) -> dict[str, Any]:
    told: dict[str, Any] = receipt_for(services).model_dump(mode="json")
    return told


@pytest.fixture(autouse=True)
def edits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the digest every change of a receipt is read."""
    monkeypatch.setattr(Receipt, "is_edited", lambda receipt: False)


@given(data=st.data())
def test_a_receipt_with_changes_is_answered(
    client: FlaskClient, services: Services, receipt: dict[str, Any], data: st.DataObject
) -> None:
    body = json.dumps({"receipt": change(receipt, data)})
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code in (202, 400, 409, 413, 422), answer.text
    if answer.status_code == 202:
        spec = services.jobs.get(answer.json["id"]).spec
        settings = services.settings
        assert max(spec.num_images, len(spec.image_seeds)) <= settings.max_images
        assert (
            max(spec.num_inference_steps, len(spec.timesteps or spec.sigmas or [])) <= settings.max_steps + 1
        )
        assert max(spec.width or 0, spec.height or 0) <= settings.max_side_px
        assert len(spec.model_dump_json()) < 100_000
    elif answer.status_code == 422:
        assert answer.json["field"].split(".")[0] == "receipt"
        assert len(answer.data) < 100_000


@given(body=JSON)
def test_any_json_in_place_of_a_receipt_is_refused(client: FlaskClient, body: Any) -> None:
    text = json.dumps({"receipt": body})
    answer = client.post("/v1/jobs", data=text, content_type="application/json")
    assert answer.status_code in (400, 422), answer.text
