"""The official client of OpenAI's API."""

import json
from collections.abc import Iterator

import pytest
from openai import OpenAI

from api.services import Services


@pytest.fixture
def openai(port: int, services: Services) -> Iterator[OpenAI]:
    """`services` has emptied the servers."""
    with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", timeout=60) as client:
        yield client


def error_of(error: object) -> dict[str, object]:
    """What the client read in a refusal."""
    body = getattr(error, "body", None)
    assert isinstance(body, dict), error
    assert set(body) == {"message", "type", "param", "code"}, json.dumps(body)
    return body
