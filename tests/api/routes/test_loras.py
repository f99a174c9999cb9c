from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.loras.header_cache import TRIES, TTL_S, LoraHeaderCache
from api.services import Services
from shared.keys import LOCAL
from shared.storage.loras import version_of
from shared.storage.object_store import Bucket, ByteRange, ObjectStat
from tests.api.services import OCTETS, lora, safetensors, upload


def test_a_file_put_there_by_any_s3_client_appears(client: FlaskClient, services: Services) -> None:
    services.loras.put("paper.safetensors", lora(), content_type=OCTETS)
    (listed,) = client.get("/v1/loras").json["loras"]
    assert (listed["name"], listed["size_bytes"]) == ("paper", len(lora()))
    fields = {"name", "size_bytes", "etag", "modified", "version", "public", "family", "rank", "problem"}
    assert set(listed) == fields
    assert client.get("/v1/loras/paper").json["rank"] == 4


def test_a_list_says_what_is_known_of_each_header(client: FlaskClient, services: Services) -> None:
    for name, data in {"broken": b"hello, world", "paper": lora(rank=8)}.items():
        services.loras.put(f"{name}.safetensors", data, content_type=OCTETS)
    unread = client.get("/v1/loras").json["loras"]
    assert [(one["rank"], one["problem"]) for one in unread] == [(None, None), (None, None)]
    read = [client.get(f"/v1/loras/{name}").json for name in ("broken", "paper")]
    broken, paper = client.get("/v1/loras").json["loras"]
    assert broken["problem"] == read[0]["problem"]
    assert (paper["rank"], paper["problem"]) == (8, None)
    assert paper.items() <= read[1].items()


def test_a_lora_says_its_version_as_the_fleet_does(client: FlaskClient, services: Services) -> None:
    upload(client, "anime", lora())
    [listed] = client.get("/v1/loras").json["loras"]
    assert listed["version"] == version_of(services.loras.name, "anime", listed["etag"])
    assert listed["public"]


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


def test_a_cursor_that_is_no_key_is_refused_as_such(client: FlaskClient) -> None:
    answer = client.get("/v1/loras", query_string={"cursor": "a\nb"})
    assert (answer.status_code, answer.json["field"]) == (422, "cursor")


def test_a_file_in_the_bucket_that_is_no_lora_says_so(client: FlaskClient, services: Services) -> None:
    services.loras.put("broken.safetensors", b"hello, world", content_type=OCTETS)
    answer = client.get("/v1/loras/broken")
    assert answer.status_code == 200
    assert "not a safetensors file" in answer.json["problem"]


def test_a_deleted_lora_is_gone(client: FlaskClient, services: Services) -> None:
    upload(client, "anime", lora())
    answer = client.delete("/v1/loras/anime")
    assert (answer.status_code, answer.data) == (204, b"")
    assert not services.loras.exists("anime.safetensors")
    assert client.get("/v1/loras/anime").status_code == 404
    assert client.delete("/v1/loras/anime").status_code == 404


def test_a_file_is_inspected_once_a_version(client: FlaskClient, services: Services) -> None:
    services.loras.put("paper.safetensors", lora(rank=4), content_type=OCTETS)
    assert client.get("/v1/loras/paper").json["rank"] == 4
    kept = list(services.control.scan_iter("swift:lora:*"))
    assert len(kept) == 1
    assert 0 < services.control.ttl(kept[0]) <= TTL_S
    services.loras.put("paper.safetensors", lora(rank=8), content_type=OCTETS)
    assert client.get("/v1/loras/paper").json["rank"] == 8


def test_a_lora_has_the_family_it_was_trained_for(client: FlaskClient, services: Services) -> None:
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    data = safetensors({f"{key}.lora_down.weight": [4, 2048], f"{key}.lora_up.weight": [640, 4]})
    services.loras.put("paper.safetensors", data, content_type=OCTETS)
    told = client.get("/v1/loras/paper").json
    assert (told["family"], told["cross_attention_dim"], told["sha256"]) == ("sdxl", 2048, None)


class Counted(Bucket):
    """Counts what is read of its objects."""

    reads = 0

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        self.reads += 1
        return super().read_range(key, etag=etag, start=start, stop=stop)


@pytest.mark.parametrize("data", [lora(), lora()[:-1]], ids=["lora", "no lora"])
def test_a_file_that_many_ask_for_at_once_is_inspected_once(services: Services, data: bytes) -> None:
    services.loras.put("anime.safetensors", data, content_type=OCTETS)
    bucket = Counted(services.settings, services.settings.lora_bucket)
    inspections = LoraHeaderCache(services.control, bucket)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(inspections.get_or_read, ["anime"] * 24, [LOCAL] * 24))
    assert bucket.reads == 1
    assert len({inspection.problem for _, inspection in found}) == 1


def test_embeddings_in_a_file_are_listed(client: FlaskClient, services: Services) -> None:
    key = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{key}.lora_down.weight": [4, 128], f"{key}.lora_up.weight": [64, 4]}
    data = safetensors(tensors | {"bundle_emb.style.clip_l": [2, 128]})
    services.loras.put("paper.safetensors", data, content_type=OCTETS)
    told = client.get("/v1/loras/paper").json
    assert (told["embeddings"], told["parts"], told["family"]) == (["style"], ["text_encoder"], None)


class Restless(Bucket):
    """Somebody replaces each object as soon as it was looked at, ``turns`` times."""

    turns = 0

    def head(self, key: str) -> ObjectStat:
        stat = super().head(key)
        if self.turns:
            self.turns -= 1
            self.put(key, lora(rank=5 + self.turns), content_type=OCTETS)
        return stat


@pytest.mark.parametrize(
    ("turns", "status", "told"), [(TRIES - 1, 200, ("rank", 5)), (TRIES, 409, ("code", "object_changed"))]
)
def test_a_lora_that_is_replaced_while_it_is_read_is_read_again(
    services: Services, turns: int, status: int, told: tuple[str, object]
) -> None:
    services.loras.put("anime.safetensors", lora(), content_type=OCTETS)
    bucket = Restless(services.settings, services.settings.lora_bucket)
    bucket.turns = turns
    restless = replace(services, loras=bucket, lora_headers=LoraHeaderCache(services.control, bucket))
    answer = create_app(restless).test_client().get("/v1/loras/anime")
    assert answer.status_code == status
    assert told in answer.json.items()


NAMES = ["my style", "水彩画", "a, b (c) [d] + e", "e\u0301te"]


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_that_people_named_as_they_liked_is_listed_and_usable(
    name: str, client: FlaskClient, services: Services
) -> None:
    services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)
    assert [(one["name"], one["problem"]) for one in client.get("/v1/loras").json["loras"]] == [(name, None)]
    assert client.get(f"/v1/loras/{quote(name)}").json["tensors"] == 2
    job = client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": name}]})
    assert job.status_code == 202, job.json
    assert client.delete(f"/v1/loras/{quote(name)}").status_code == 204


def test_a_suffix_in_another_case_is_a_suffix(client: FlaskClient, services: Services) -> None:
    services.loras.put("STYLE.SAFETENSORS", lora(), content_type=OCTETS)
    assert [one["name"] for one in client.get("/v1/loras").json["loras"]] == ["STYLE"]
    job = client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "STYLE"}]})
    [ref] = client.get(f"/v1/jobs/{job.json['id']}").json["request"]["loras"]
    assert (ref["name"], ref["key"]) == ("STYLE", "STYLE.SAFETENSORS")
    # Given another with the suffix as it should be, that one is meant
    assert upload(client, "STYLE", lora(rank=8)).status_code == 201
    listed = {one["name"]: one["problem"] for one in client.get("/v1/loras").json["loras"]}
    assert listed["STYLE"] is None
    assert "is the LoRA of that name" in listed["STYLE.SAFETENSORS"]


def test_what_cannot_be_a_lora_is_listed_with_the_reason(client: FlaskClient, services: Services) -> None:
    keys = [".hidden.safetensors", "a@b.safetensors", "style.ckpt", "sub/style.safetensors"]
    for key in (*keys, "uploads/x"):
        services.loras.put(key, lora(), content_type=OCTETS)
    listed = {one["name"]: one["problem"] for one in client.get("/v1/loras").json["loras"]}
    assert sorted(listed) == keys
    assert all(listed.values())


def test_the_name_of_a_file_names_its_lora_everywhere(client: FlaskClient) -> None:
    assert upload(client, "style.safetensors", lora()).json["name"] == "style"
    assert client.get("/v1/loras/style.SAFETENSORS").json["name"] == "style"
    named = {"prompt": "a cat", "loras": [{"name": "style.safetensors"}]}
    job = client.post("/v1/jobs", json=named)
    assert client.get(f"/v1/jobs/{job.json['id']}").json["request"]["loras"][0]["name"] == "style"
    assert client.post("/v1/loras/style.safetensors/upload").json["complete"].startswith("/v1/loras/style/")


def test_pages_go_on_behind_the_last_key(client: FlaskClient, services: Services) -> None:
    for key in ("a.safetensors", "b@.safetensors", "c d.safetensors", "猫.safetensors"):
        services.loras.put(key, lora(), content_type=OCTETS)
    names, cursor = [], ""
    while cursor is not None:
        page = client.get("/v1/loras", query_string={"limit": 1, "cursor": cursor}).json
        names += [one["name"] for one in page["loras"]]
        cursor = page["next_cursor"]
    assert names == ["a", "b@.safetensors", "c d", "猫"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_every_operation_refuses_a_name_that_cannot_be_one(client: FlaskClient, method: str) -> None:
    answer = client.open("/v1/loras/a@b", method=method)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert (answer.json["field"], "is no LoRA name" in answer.json["detail"]) == ("name", True)
