import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from werkzeug.test import TestResponse

from api.app import create_app
from api.loras import publisher
from api.services import Services
from shared.storage.lora_names import STAGED
from shared.storage.safetensors_header import MAX_HEADER_BYTES
from tests.api.services import OCTETS, lora, safetensors, upload
from tests.api.tenants import add_tenant, client_of, with_keys


def with_header(header: Any, data: bytes = b"") -> bytes:
    return with_text(json.dumps(header).encode(), data)


def with_text(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


TENSOR = {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}


def test_an_uploaded_lora_is_an_object_of_the_bucket(client: FlaskClient, services: Services) -> None:
    answer = upload(client, "anime", lora(rank=4))
    assert answer.status_code == 201
    stat = services.loras.head("anime.safetensors")
    assert services.loras.get("anime.safetensors") == lora(rank=4)
    assert answer.json["etag"] == stat.etag
    assert (answer.json["rank"], answer.json["parts"], answer.json["tensors"]) == (4, ["unet"], 2)
    assert stat.metadata == {
        "sha256": hashlib.sha256(lora(rank=4)).hexdigest(),
        "rank": "4",
        "parts": "unet",
        "family": "unknown",
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


def test_a_header_larger_than_any_loras_is_refused_and_the_limit_is_named(client: FlaskClient) -> None:
    length = MAX_HEADER_BYTES + 1
    answer = upload(client, "anime", length.to_bytes(8, "little") + bytes(length))
    assert answer.json["code"] == "invalid_lora"
    assert f"a header of {length} bytes, the limit is {MAX_HEADER_BYTES}" in answer.json["detail"]


def test_a_lora_with_twenty_megabytes_of_tags_is_accepted(client: FlaskClient) -> None:
    key = "unet.conv_in.lora_A.weight"
    header = {
        "__metadata__": {"ss_tag_frequency": '"1girl": 7, ' * 1_600_000},
        key: {"dtype": "F16", "shape": [4, 4, 3, 3], "data_offsets": [0, 288]},
    }
    answer = upload(client, "anime", with_header(header, bytes(288)))
    assert (answer.status_code, answer.json["rank"]) == (201, 4)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "900,000 dimensions": (with_header({"x": TENSOR | {"shape": [9] * 900_000}}), "'x'"),
    "25,000 empty tensors": (
        with_header({f"{i}.attn2.to_k.lora_A": TENSOR | {"shape": [0, i]} for i in range(25_000)}),
        r"'0.attn2.to_k.lora_A' has the shape [0, 0]",
    ),
    "a dimension of 4,000 digits": (with_header({"x": TENSOR | {"shape": [10**3999]}}), "'x'"),
    "nested lists": (with_text(b'{"x":' + b"[" * 2000), "'x'"),
    "a line break in a name": (with_header({"x\n\x1b[31m": TENSOR}), r"'x\n\x1b[31m'"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_header_is_refused_by_every_way_in(
    client: FlaskClient, services: Services, which: str
) -> None:
    data, named = HOSTILE[which]
    answers = [upload(client, "anime", data)]
    begun = client.post("/v1/loras/anime/upload").json
    send(begun, data)
    answers.append(client.post(begun["complete"]))
    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(422, "invalid_lora")] * 2
    assert left_behind(services) == []
    services.loras.put("anime.safetensors", data, content_type=OCTETS)
    answers.append(client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "anime"}]}))
    assert answers[-1].json["field"] == "loras.0.name"
    details = [answer.json["detail"] for answer in answers] + [client.get("/v1/loras/anime").json["problem"]]
    assert all(named in detail and len(detail) < 1000 for detail in details)


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


@pytest.fixture
def tight(app_with: Callable[..., OpenAPI], services: Services) -> FlaskClient:
    """Of an API that takes only small files; `services` has emptied the servers."""
    return app_with(max_lora_bytes=1000).test_client()


def test_a_file_over_the_limit_is_refused(tight: FlaskClient) -> None:
    answer = upload(tight, "anime", lora(rank=32))
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_chunked_file_over_the_limit_is_refused(tight: FlaskClient) -> None:
    answer = tight.put(
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


def test_another_content_type_is_refused(client: FlaskClient) -> None:
    answer = upload(client, "anime", lora(), "multipart/form-data")
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert OCTETS in answer.json["detail"]


def test_a_name_that_cannot_be_one_is_refused(client: FlaskClient) -> None:
    answer = upload(client, ".hidden", lora())
    assert (answer.status_code, answer.json["field"]) == (422, "name")


def left_behind(services: Services) -> list[str]:
    """Keys of staged files and of uploads that have not ended."""
    client, bucket = services.loras.client, services.loras.name
    uploads = client.list_multipart_uploads(Bucket=bucket, Prefix=STAGED).get("Uploads", [])
    return [stat.key for stat in services.loras.list(STAGED)] + [one["Key"] for one in uploads]


def test_no_upload_leaves_a_file_behind(client: FlaskClient, services: Services) -> None:
    upload(client, "anime", lora())
    upload(client, "anime", b"rubbish, no LoRA")
    upload(client, "anime", lora()[:-1])
    assert left_behind(services) == []


def test_a_pickle_is_refused_as_such(client: FlaskClient) -> None:
    for data in (
        b"PK\x03\x04 a zip archive, as torch.save writes it",
        b"\x80\x02}q\x00X\x01 and before that",
    ):
        assert "pickle" in upload(client, "anime", data).json["detail"]


def send(begun: Any, data: bytes, status: int = 204) -> None:
    """POST a file as the answer to ``…/upload`` says."""
    answer = requests.post(begun["url"], data=begun["fields"], files={"file": data}, timeout=30)
    assert answer.status_code == status, answer.text


def test_a_file_that_was_sent_to_a_url_is_a_lora_once_it_is_complete(
    client: FlaskClient, services: Services
) -> None:
    begun = client.post("/v1/loras/anime/upload")
    assert (begun.status_code, begun.json["method"]) == (201, "POST")
    send(begun.json, lora(rank=8))
    assert client.get("/v1/loras").json["loras"] == []
    answer = client.post(begun.json["complete"] + "&max_async_steps=3")
    assert (answer.status_code, answer.json["rank"], answer.json["max_async_steps"]) == (201, 8, 3)
    assert services.loras.get("anime.safetensors") == lora(rank=8)
    metadata = services.loras.head("anime.safetensors").metadata
    assert metadata["sha256"] == hashlib.sha256(lora(rank=8)).hexdigest()
    assert left_behind(services) == []


def test_a_completed_upload_can_be_completed_again_until_the_lora_changes(client: FlaskClient) -> None:
    begun = client.post("/v1/loras/anime/upload").json
    send(begun, lora(rank=8))
    first = client.post(begun["complete"])
    again = client.post(begun["complete"])
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json["etag"], again.json["rank"]) == (first.json["etag"], 8)
    upload(client, "anime", lora(rank=4))
    assert client.post(begun["complete"]).json["code"] == "conflict"
    client.delete("/v1/loras/anime")
    assert client.post(begun["complete"]).status_code == 409


def test_a_refused_file_is_removed_and_says_why(client: FlaskClient, services: Services) -> None:
    begun = client.post("/v1/loras/anime/upload").json
    send(begun, lora()[:-1])
    answer = client.post(begun["complete"])
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_lora")
    assert left_behind(services) == []
    assert not services.loras.exists("anime.safetensors")


def test_s3_itself_refuses_a_file_over_the_limit(tight: FlaskClient, services: Services) -> None:
    begun = tight.post("/v1/loras/anime/upload").json
    assert begun["max_bytes"] == 1000
    send(begun, bytes(1000))
    send(begun, bytes(1001), status=400)
    assert [stat.size_bytes for stat in services.loras.list(STAGED)] == [1000]


def test_a_signed_form_is_for_one_key_and_no_other(client: FlaskClient) -> None:
    begun = client.post("/v1/loras/anime/upload").json
    begun["fields"]["key"] = "paper.safetensors"
    send(begun, lora(), status=403)


def test_a_staged_file_over_the_limit_is_removed(tight: FlaskClient, services: Services) -> None:
    begun = tight.post("/v1/loras/anime/upload").json
    services.loras.put(begun["fields"]["key"], lora(rank=32), content_type=OCTETS)
    assert tight.post(begun["complete"]).status_code == 413
    assert left_behind(services) == []


@pytest.mark.parametrize("upload", ["0" * 32, "..", "x"])
def test_only_what_was_uploaded_can_be_completed(client: FlaskClient, upload: str) -> None:
    assert client.post("/v1/loras/anime/complete", query_string={"upload": upload}).status_code == 404


def test_an_upload_is_for_the_name_it_was_begun_with(client: FlaskClient) -> None:
    begun = client.post("/v1/loras/anime/upload").json
    send(begun, lora())
    assert client.post(f"/v1/loras/paper/complete?upload={begun['upload']}").status_code == 404


def test_of_uploads_of_one_name_that_race_one_wins_whole(services: Services) -> None:
    # Given uploads of different files, each with a bound that says which it is, all at once and both ways
    app = create_app(services)
    ranks = [1, 2, 3, 4]
    torn: list[str] = []
    done = threading.Event()

    def send_many(rank: int) -> None:
        client = app.test_client()
        for _ in range(4):
            bound = f"max_async_steps={rank}"
            if rank % 2:
                assert client.put(f"/v1/loras/anime?{bound}", data=lora(rank)).status_code in (200, 201)
            else:
                begun = client.post("/v1/loras/anime/upload").json
                send(begun, lora(rank))
                assert client.post(f"{begun['complete']}&{bound}").status_code in (200, 201)

    def look() -> None:
        while not done.is_set():
            torn.extend(mismatches(services))

    upload(app.test_client(), "anime", lora(1))
    looking = threading.Thread(target=look)
    sending = [threading.Thread(target=send_many, args=[rank]) for rank in ranks]
    looking.start()
    for thread in sending:
        thread.start()
    for thread in sending:
        thread.join()
    done.set()
    looking.join()
    # Then whoever reads the object, at any moment, gets the content that its metadata tells of
    assert torn == []
    assert mismatches(services) == []
    assert left_behind(services) == []


def mismatches(services: Services) -> list[str]:
    """Metadata of the object that is not its content's."""
    found = services.loras.client.get_object(Bucket=services.loras.name, Key="anime.safetensors")
    data, told = found["Body"].read(), found["Metadata"]
    expected = {"sha256": hashlib.sha256(data).hexdigest()}
    if "max-async-steps" in told:
        expected["rank"] = told["max-async-steps"]
    return [f"{name}: {told.get(name)}" for name, value in expected.items() if told.get(name) != value]


def test_headers_in_memory_are_bounded_over_all_uploads(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = int.from_bytes(lora()[:8], "little")
    monkeypatch.setattr(publisher, "HEADERS_BYTES", length)
    client = create_app(services).test_client()
    longer = with_header({"__metadata__": {"note": "x" * length}, "a.lora_A.weight": TENSOR}, b"ab")
    answer = client.put("/v1/loras/long", data=longer, content_type=OCTETS)
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert "headers of LoRAs" in answer.json["detail"]
    # What an upload has held is free again, whether it was taken or refused
    broken = (length).to_bytes(8, "little") + b"x" * length
    assert client.put("/v1/loras/a", data=broken, content_type=OCTETS).status_code == 422
    assert upload(client, "a", lora()).status_code == 201
    assert upload(client, "b", lora()).status_code == 201


class BodyThatWaits(BytesIO):
    """The bytes of an upload; when it is read first, ``meanwhile`` happens."""

    def __init__(self, data: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(data)
        self._meanwhile: Callable[[], None] | None = meanwhile

    def read(self, size: int | None = -1, /) -> bytes:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().read(size)


def test_a_tenant_that_has_its_share_of_uploads_leaves_the_others_to_others(services: Services) -> None:
    given = with_keys(services)
    app = create_app(given)
    for tenant in ("acme", "globex"):
        add_tenant(given, tenant)
    acme, globex = (client_of(app, given, tenant) for tenant in ("acme", "globex"))
    share, answers = publisher.UPLOADS // 4, list[TestResponse]()

    def upload_another(n: int = 0) -> None:
        """While it arrives the next one begins."""
        if n <= share:
            body = BodyThatWaits(lora(), partial(upload_another, n + 1))
            options = {"content_type": OCTETS, "content_length": len(lora())}
            answers.append(acme.put(f"/v1/loras/{n}", input_stream=body, **options))
        if n == share:
            answers.append(upload(globex, "other", lora()))

    upload_another()
    statuses = [answer.status_code for answer in answers]
    assert statuses == [429, 201] + share * [201]
    assert answers[0].json["code"] == "limit_exceeded"
    assert answers[0].headers["RateLimit-Policy"] == f'"lora_uploads";q={share}'
