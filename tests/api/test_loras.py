import hashlib
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.services import Services
from tests.api.material import lora, safetensors

OCTETS = "application/octet-stream"


def upload(client: FlaskClient, name: str, data: bytes, content_type: str | None = OCTETS) -> TestResponse:
    return client.put(f"/v1/loras/{name}", data=data, content_type=content_type)


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_an_uploaded_lora_is_an_object_of_the_bucket(client: FlaskClient, services: Services) -> None:
    answer = upload(client, "anime", lora(rank=4))
    assert answer.status_code == 201
    blob = services.loras.head("anime.safetensors")
    assert services.loras.get("anime.safetensors") == lora(rank=4)
    assert answer.json["etag"] == blob.etag
    assert (answer.json["rank"], answer.json["parts"], answer.json["tensors"]) == (4, ["unet"], 2)
    assert blob.metadata == {
        "sha256": hashlib.sha256(lora(rank=4)).hexdigest(),
        "rank": "4",
        "parts": "unet",
    }


def test_a_lora_carries_its_own_bound_into_every_job(client: FlaskClient, services: Services) -> None:
    answer = client.put("/v1/loras/pose?max_async_steps=0", data=lora(), content_type=OCTETS)
    assert answer.status_code == 201
    assert services.loras.head("pose.safetensors").metadata["max-async-steps"] == "0"
    job = client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "pose"}]})
    [ref] = client.get(f"/v1/jobs/{job.json['id']}").json["request"]["loras"]
    assert ref["max_async_steps"] == 0


def test_a_bound_that_is_no_number_is_refused_where_it_is_met(
    client: FlaskClient, services: Services
) -> None:
    assert client.put("/v1/loras/pose?max_async_steps=-1", data=lora()).json["field"] == "max_async_steps"
    metadata = {"max-async-steps": "early"}
    services.loras.put("pose.safetensors", lora(), content_type=OCTETS, metadata=metadata)
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "pose"}]})
    assert (answer.status_code, answer.json["field"]) == (422, "loras.0.name")
    assert "'early'" in answer.json["detail"]


def test_an_upload_replaces_the_lora_of_that_name(client: FlaskClient) -> None:
    first = upload(client, "anime", lora(rank=4))
    second = upload(client, "anime", lora(rank=8))
    assert (first.status_code, second.status_code) == (201, 200)
    assert client.get("/v1/loras/anime").json["rank"] == 8
    assert first.json["etag"] != second.json["etag"]


def test_the_embedded_loras_are_loras(client: FlaskClient, services: Services) -> None:
    folder = services.settings.catalog.parent / "emoji" / "loras"
    files = sorted(folder.glob("*.safetensors"))
    assert files
    for file in files:
        assert upload(client, file.stem, file.read_bytes()).status_code == 201


def test_a_file_put_there_by_any_s3_client_appears(client: FlaskClient, services: Services) -> None:
    services.loras.put("paper.safetensors", lora(), content_type=OCTETS)
    services.loras.put("notes.txt", b"no LoRA", content_type="text/plain")
    (listed,) = client.get("/v1/loras").json["loras"]
    assert (listed["name"], listed["size_bytes"]) == ("paper", len(lora()))
    assert set(listed) == {"name", "size_bytes", "etag", "modified"}
    assert client.get("/v1/loras/paper").json["rank"] == 4


def test_loras_are_listed_in_pages(client: FlaskClient, services: Services) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        services.loras.put(f"{name}.safetensors", b"", content_type=OCTETS)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(
            "/v1/loras", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json
        seen += [found["name"] for found in page["loras"]]
        cursor = page["next_cursor"]
    assert seen == names


def test_a_file_in_the_bucket_that_is_no_lora_says_so(client: FlaskClient, services: Services) -> None:
    services.loras.put("broken.safetensors", b"hello, world", content_type=OCTETS)
    answer = client.get("/v1/loras/broken")
    assert answer.status_code == 200
    assert "not a safetensors file" in answer.json["problem"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"hello, this is no safetensors file",
        (1 << 60).to_bytes(8, "little") + b"{}",
        with_header([]),
        with_header({"x.lora_A.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)),
        with_header({"x.lora_A.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8)),
        with_header({"x.lora_A.weight": {"dtype": "X9", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)),
        lora() + b"trailing",
        lora()[:-1],
    ],
    ids=["empty", "short", "text", "length", "list", "shape", "offsets", "dtype", "longer", "shorter"],
)
def test_a_lying_file_is_refused_and_not_stored(client: FlaskClient, services: Services, data: bytes) -> None:
    answer = upload(client, "anime", data)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_lora")
    assert not services.loras.exists("anime.safetensors")


def test_a_header_larger_than_any_loras_is_refused(client: FlaskClient) -> None:
    data = (17 << 20).to_bytes(8, "little") + bytes(17 << 20)
    assert upload(client, "anime", data).json["code"] == "invalid_lora"


def test_a_model_without_lora_tensors_is_refused(client: FlaskClient) -> None:
    answer = upload(client, "anime", safetensors({"unet.conv_in.weight": [4, 4]}))
    assert answer.json["code"] == "invalid_lora"
    assert "no LoRA" in answer.json["detail"]


@pytest.mark.parametrize(
    "names",
    [
        ("lora_unet_down_blocks_0_proj.lora_down.weight", "lora_unet_down_blocks_0_proj.lora_up.weight"),
        ("unet.mid.processor.to_q_lora.down.weight", "unet.mid.processor.to_q_lora.up.weight"),
        ("text_encoder.layers.0.q_proj.lora_A.weight", "text_encoder.layers.0.q_proj.lora_B.weight"),
    ],
    ids=["kohya", "diffusers", "peft"],
)
def test_each_form_of_lora_is_accepted(client: FlaskClient, names: tuple[str, str]) -> None:
    answer = upload(client, "anime", safetensors({names[0]: [4, 32], names[1]: [32, 4]}))
    assert (answer.status_code, answer.json["rank"]) == (201, 4)


def tight(services: Services) -> FlaskClient:
    limited = services.settings.model_copy(update={"max_lora_bytes": 1000})
    return create_app(replace(services, settings=limited)).test_client()


def test_a_file_over_the_limit_is_refused(services: Services) -> None:
    answer = upload(tight(services), "anime", lora(rank=32))
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_file_of_untold_length_over_the_limit_is_refused(services: Services) -> None:
    answer = tight(services).put(
        "/v1/loras/anime",
        input_stream=BytesIO(lora(rank=32)),
        content_type=OCTETS,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_lora_may_be_larger_than_a_jobs_body(services: Services) -> None:
    limited = services.settings.model_copy(update={"max_body_bytes": 1000})
    client = create_app(replace(services, settings=limited)).test_client()
    assert upload(client, "anime", lora(rank=32)).status_code == 201


def test_an_upload_leaves_no_file_behind(client: FlaskClient, services: Services) -> None:
    upload(client, "anime", lora())
    upload(client, "anime", b"rubbish, no LoRA")
    uploads = services.settings.home / "uploads"
    assert list(uploads.iterdir()) == []


def test_another_content_type_is_refused(client: FlaskClient) -> None:
    answer = upload(client, "anime", lora(), "multipart/form-data")
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert OCTETS in answer.json["detail"]


def test_a_name_that_cannot_be_one_is_refused(client: FlaskClient) -> None:
    answer = upload(client, ".hidden", lora())
    assert (answer.status_code, answer.json["field"]) == (422, "name")


def test_a_deleted_lora_is_gone(client: FlaskClient, services: Services) -> None:
    upload(client, "anime", lora())
    answer = client.delete("/v1/loras/anime")
    assert (answer.status_code, answer.data) == (204, b"")
    assert not services.loras.exists("anime.safetensors")
    assert client.get("/v1/loras/anime").status_code == 404
    assert client.delete("/v1/loras/anime").status_code == 404
