"""``If-None-Match`` on whatever has an ETag."""

import pytest
from flask.testing import FlaskClient

from api.services import Services
from tests.api.services import OCTETS, edge, lora

KNOWN = ['"{}"', 'W/"{}"', '"other", "{}"', 'W/"other" ,W/"{}"', "*"]
UNKNOWN = ['"other"', 'W/"other"', '"{}x"', '"x{}"', ""]


@pytest.fixture
def urls(client: FlaskClient, services: Services) -> list[str]:
    """An image and a LoRA."""
    job_id = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge()]}).json["id"]
    services.loras.put("anime.safetensors", lora(), content_type=OCTETS)
    return [f"/v1/jobs/{job_id}/controlnets/0/image", "/v1/loras/anime"]


@pytest.mark.parametrize("known", KNOWN)
def test_what_the_client_has_is_not_sent_again(client: FlaskClient, urls: list[str], known: str) -> None:
    for url in urls:
        tag = client.get(url).headers["ETag"]
        headers = {"If-None-Match": known.format(tag.removeprefix("W/").strip('"'))}
        answer = client.get(url, headers=headers)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_anything_else_is_sent(client: FlaskClient, urls: list[str], unknown: str) -> None:
    for url in urls:
        tag = client.get(url).headers["ETag"].removeprefix("W/").strip('"')
        assert client.get(url, headers={"If-None-Match": unknown.format(tag)}).status_code == 200


def test_a_lora_that_was_replaced_is_sent(client: FlaskClient, services: Services, urls: list[str]) -> None:
    tag = client.get(urls[1]).headers["ETag"]
    services.loras.put("anime.safetensors", lora(rank=2), content_type=OCTETS)
    assert client.get(urls[1], headers={"If-None-Match": tag}).status_code == 200
