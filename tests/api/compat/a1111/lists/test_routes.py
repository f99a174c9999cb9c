"""A1111's lists, and its calls that mean nothing here."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.compat.a1111.samplers import find_scheduler
from api.services import Services
from shared.catalog.schedulers import SCHEDULERS
from shared.registry.workers import publish_heartbeat
from tests.api.api_keys import bearer, make_key, make_tenant
from tests.api.services import heartbeat, lora, upload


def read(client: FlaskClient, path: str) -> Any:
    answer = client.get(f"/sdapi/v1/{path}")
    assert (answer.status_code, answer.content_type) == (200, "application/json"), path
    return answer.json


#: Fields that A1111 promises of each item.
FIELDS = {
    "sd-models": {"title", "model_name", "hash", "sha256", "filename", "config"},
    "samplers": {"name", "aliases", "options"},
    "schedulers": {"name", "label", "aliases", "default_rho", "need_inner_model"},
    "loras": {"name", "alias", "path", "metadata"},
    "upscalers": {"name", "model_name", "model_path", "model_url", "scale"},
    "script-info": {"name", "is_alwayson", "is_img2img", "args"},
    "extensions": {"name", "remote", "branch", "commit_hash", "version", "commit_date", "enabled"},
    "latent-upscale-modes": set(),
    "sd-vae": set(),
    "hypernetworks": set(),
    "face-restorers": set(),
    "realesrgan-models": set(),
    "prompt-styles": set(),
}


@pytest.mark.parametrize("path", FIELDS)
def test_a_list_has_the_fields_of_a1111s(client: FlaskClient, path: str) -> None:
    assert upload(client, "twemoji", lora()).status_code == 201
    items = read(client, path)
    assert bool(items) == bool(FIELDS[path])
    for item in items:
        assert item.keys() >= FIELDS[path]


def test_every_listed_sampler_is_known_with_every_listed_schedule(client: FlaskClient) -> None:
    names = [sampler["name"] for sampler in read(client, "samplers")]
    assert len(set(names)) == len(names)
    reached = {find_scheduler(name, None, None) for name in names}
    assert reached <= SCHEDULERS.keys()
    assert {"ddpm", "deis", "tcd", "sa_solver"} <= reached  # A1111 has none of them
    for schedule in read(client, "schedulers"):
        assert find_scheduler("Euler", None, schedule["name"]) in SCHEDULERS
        assert find_scheduler("Euler", None, schedule["label"]) in SCHEDULERS


def test_what_automatic_means_for_a_sampler_is_told(client: FlaskClient) -> None:
    options = {sampler["name"]: sampler["options"] for sampler in read(client, "samplers")}
    assert options["DPM++ 2M"] == {"scheduler": "karras"}
    assert options["DDIM"] == {}
    assert read(client, "schedulers")[0]["name"] == "automatic"


def test_the_script_that_webuiapi_looks_for_is_there(client: FlaskClient) -> None:
    scripts = read(client, "scripts")
    assert scripts["txt2img"] == scripts["img2img"] == ["controlnet", "controlnet m2m"]
    assert {(item["name"], item["is_img2img"]) for item in read(client, "script-info")} == {
        ("controlnet", False),
        ("controlnet", True),
    }


def test_the_first_upscaler_is_none(client: FlaskClient) -> None:
    assert [one["name"] for one in read(client, "upscalers")] == ["None"]


def test_there_are_no_embeddings(client: FlaskClient) -> None:
    assert read(client, "embeddings") == {"loaded": {}, "skipped": {}}


def test_loras_are_the_public_ones_and_the_tenants_own(keyed_client: FlaskClient) -> None:
    for tenant in ("acme", "globex"):
        make_tenant(keyed_client, tenant)
    acme, globex = (bearer(make_key(keyed_client, tenant)) for tenant in ("acme", "globex"))
    for name, headers in (("public", bearer()), ("mine", acme), ("other", globex), ("public", acme)):
        answer = keyed_client.put(f"/v1/loras/{name}", data=lora(), headers=headers)
        assert answer.status_code == 201, answer.text
    seen = [
        [item["name"] for item in keyed_client.get("/sdapi/v1/loras", headers=headers).json]
        for headers in (acme, globex, bearer())
    ]
    assert seen == [["mine", "public"], ["other", "public"], ["public"]]
    listed = keyed_client.get("/sdapi/v1/loras", headers=acme).json
    assert listed[0] == {"name": "mine", "alias": "mine", "path": "mine.safetensors", "metadata": {}}


def test_objects_that_are_no_lora_are_not_listed(client: FlaskClient, services: Services) -> None:
    services.loras.put("notes.txt", b"x", content_type="text/plain")
    assert upload(client, "twemoji", lora()).status_code == 201
    assert [item["name"] for item in read(client, "loras")] == ["twemoji"]


def test_memory_is_this_process_and_the_gpus_of_live_workers(client: FlaskClient, services: Services) -> None:
    memory = read(client, "memory")
    ram = memory["ram"]
    assert 0 < ram["used"] < ram["total"] == ram["used"] + ram["free"]
    assert memory["cuda"] == {"error": "unavailable"}  # as A1111 says it
    for name, device, free in (("a", "cuda:0", 3), ("b", "cuda:0", 3), ("c", "cuda:1", 5)):
        gpu = {"device": device, "device_free_bytes": free, "device_total_bytes": 10}
        worker = heartbeat(name, "unet", "emoji-sd", []).model_copy(update=gpu)
        publish_heartbeat(services.control, worker, 60)
    assert read(client, "memory")["cuda"] == {"system": {"free": 8, "used": 12, "total": 20}}


def test_flags_name_no_path_of_the_server(client: FlaskClient) -> None:
    flags = read(client, "cmd-flags")
    assert flags["api"] is True
    assert not any(isinstance(value, str) and "/" in value for value in flags.values())


@pytest.mark.parametrize("name", ["checkpoints", "loras", "vae", "embeddings"])
@pytest.mark.parametrize("body", [None, {}])
def test_a_refresh_answers_json_and_does_nothing(client: FlaskClient, name: str, body: object) -> None:
    answer = client.post(f"/sdapi/v1/refresh-{name}", json=body)
    assert (answer.status_code, answer.json) == (200, None)


@pytest.mark.parametrize("name", ["unload-checkpoint", "reload-checkpoint"])
def test_a_client_is_told_that_it_cannot_unload_models(client: FlaskClient, name: str) -> None:
    answer = client.post(f"/sdapi/v1/{name}")
    assert answer.status_code == 200  # programs that want the memory stop at anything else
    assert answer.json["info"].startswith("nothing was done")


def test_a_ping_is_answered(client: FlaskClient) -> None:
    assert client.get("/internal/ping").json == {}


@pytest.mark.parametrize("path", ["sdapi/v1/sd-models", "sdapi/v1/options", "controlnet/model_list"])
def test_a_list_needs_a_key_for_jobs(keyed_client: FlaskClient, path: str) -> None:
    refused = keyed_client.get(f"/{path}")
    assert refused.status_code == 401
    headers = bearer(make_key(keyed_client, scopes=["metrics"]))
    assert keyed_client.get(f"/{path}", headers=headers).status_code == 403
    headers = bearer(make_key(keyed_client, scopes=["jobs"]))
    assert keyed_client.get(f"/{path}", headers=headers).status_code == 200
