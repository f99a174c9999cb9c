"""No tenant sees or changes what is another's: every route of the app, asked by a foreign tenant."""

import re
import time
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from werkzeug.test import TestResponse

from api.app import create_app
from api.loras.quota import MAX_FORMS
from api.services import Services
from shared import keys
from shared.jobs.record import StoredImage
from shared.registry.lora_inventory import LoraInventory, publish_disk_cache, publish_inventory
from shared.registry.workers import publish_heartbeat
from shared.storage.loras import lora_key, version_of
from shared.tenants.scopes import Scope
from tests.api.services import (
    OCTETS,
    announce_workers,
    base64_of,
    edge,
    heartbeat,
    image_file,
    lora,
    succeed,
    upload,
)
from tests.api.tenants import add_tenant, client_of, with_keys

OWNER, STRANGER = "acme", "globex"
#: What a route names: something of a tenant, which is a 404 to others; each tenant's own things by the same
#: names (tested one by one below); what only admins may name; nothing that is anybody's.
Names = Literal["a tenant's", "its own", "admin", "nothing"]
#: Every operation of the app: a new one must say here what it names.
OPERATIONS: dict[str, Names] = {
    "POST /v1/jobs": "its own",
    "GET /v1/jobs": "its own",
    "GET /v1/jobs/<id>": "a tenant's",
    "POST /v1/jobs/<id>/cancel": "a tenant's",
    "DELETE /v1/jobs/<id>": "a tenant's",
    "GET /v1/jobs/<id>/events": "a tenant's",
    "GET /v1/events": "a tenant's",
    "GET /v1/usage": "its own",
    "GET /v1/jobs/<id>/preview": "a tenant's",
    "GET /v1/jobs/<id>/images": "a tenant's",
    "GET /v1/jobs/<id>/images.zip": "a tenant's",
    "GET /v1/jobs/<id>/images/<int:n>": "a tenant's",
    "GET /v1/jobs/<id>/images/<int:n>/thumbnail": "a tenant's",
    "GET /v1/jobs/<id>/controlnets/<int:n>/image": "a tenant's",
    "GET /v1/jobs/<id>/controlnets/<int:n>/map": "a tenant's",
    "GET /v1/webhooks": "its own",
    "POST /v1/webhooks": "its own",
    "GET /v1/webhooks/<webhook_id>": "a tenant's",
    "PATCH /v1/webhooks/<webhook_id>": "a tenant's",
    "DELETE /v1/webhooks/<webhook_id>": "a tenant's",
    "GET /v1/webhooks/default/secret": "its own",
    "POST /v1/webhooks/<webhook_id>/rotate": "a tenant's",
    "GET /v1/webhooks/<webhook_id>/deliveries": "a tenant's",
    "POST /v1/webhooks/<webhook_id>/replay": "a tenant's",
    "GET /v1/loras": "its own",
    "GET /v1/loras/<name>": "a tenant's",
    "PUT /v1/loras/<name>": "its own",
    "DELETE /v1/loras/<name>": "a tenant's",
    "POST /v1/loras/<name>/upload": "its own",
    "POST /v1/loras/<name>/complete": "a tenant's",
    "GET /v1/fleet": "its own",
    "GET /v1/models": "nothing",
    "GET /v1/models/<name>": "nothing",
    "POST /v1/images/generations": "its own",
    "POST /v1/images/edits": "its own",
    "POST /v1/images/variations": "nothing",
    "GET /v1/controlnets": "nothing",
    "POST /v1/controlnets/preprocess": "its own",
    "POST /sdapi/v1/txt2img": "its own",
    "POST /sdapi/v1/img2img": "its own",
    "POST /sdapi/v1/png-info": "nothing",
    "GET /sdapi/v1/progress": "its own",
    "POST /sdapi/v1/interrupt": "its own",
    "POST /sdapi/v1/skip": "its own",
    "GET /sdapi/v1/options": "its own",
    "POST /sdapi/v1/options": "its own",
    "GET /sdapi/v1/loras": "its own",
    "GET /sdapi/v1/sd-models": "nothing",
    "GET /sdapi/v1/samplers": "nothing",
    "GET /sdapi/v1/schedulers": "nothing",
    "GET /sdapi/v1/upscalers": "nothing",
    "GET /sdapi/v1/latent-upscale-modes": "nothing",
    "GET /sdapi/v1/sd-vae": "nothing",
    "GET /sdapi/v1/embeddings": "nothing",
    "GET /sdapi/v1/hypernetworks": "nothing",
    "GET /sdapi/v1/face-restorers": "nothing",
    "GET /sdapi/v1/realesrgan-models": "nothing",
    "GET /sdapi/v1/prompt-styles": "nothing",
    "GET /sdapi/v1/scripts": "nothing",
    "GET /sdapi/v1/script-info": "nothing",
    "GET /sdapi/v1/extensions": "nothing",
    "GET /sdapi/v1/cmd-flags": "nothing",
    "GET /sdapi/v1/memory": "nothing",
    "POST /sdapi/v1/refresh-checkpoints": "nothing",
    "POST /sdapi/v1/refresh-loras": "nothing",
    "POST /sdapi/v1/refresh-vae": "nothing",
    "POST /sdapi/v1/refresh-embeddings": "nothing",
    "POST /sdapi/v1/unload-checkpoint": "nothing",
    "POST /sdapi/v1/reload-checkpoint": "nothing",
    "GET /internal/ping": "nothing",
    "GET /controlnet/version": "nothing",
    "GET /controlnet/model_list": "nothing",
    "GET /controlnet/module_list": "nothing",
    "GET /controlnet/control_types": "nothing",
    "GET /controlnet/settings": "nothing",
    "POST /controlnet/detect": "its own",
    "GET /v1/tenants": "admin",
    "POST /v1/tenants": "admin",
    "GET /v1/tenants/<id>": "admin",
    "PATCH /v1/tenants/<id>": "admin",
    "DELETE /v1/tenants/<id>": "admin",
    "GET /v1/tenants/<id>/keys": "admin",
    "POST /v1/tenants/<id>/keys": "admin",
    "GET /v1/tenants/<id>/keys/<key_id>": "admin",
    "POST /v1/tenants/<id>/keys/<key_id>/rotate": "admin",
    "DELETE /v1/tenants/<id>/keys/<key_id>": "admin",
    "GET /v1/audit": "admin",
    "POST /v1/session": "nothing",
    "GET /v1/session": "its own",
    "DELETE /v1/session": "its own",
    "GET /": "nothing",
    "GET /console/<name>": "nothing",
    "GET /healthz": "nothing",
    "GET /readyz": "nothing",
    "GET /metrics": "its own",
}
#: Operations that take a body, and one that changes nothing.
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/webhooks/<webhook_id>": {},
    "POST /v1/webhooks/<webhook_id>/replay": {},
}
#: What the app's framework adds: the document and its pages.
DOCUMENTS = re.compile(r"/(?:docs|openapi|static|flask_openapi)\b.*")


@dataclass(frozen=True)
class TwoTenants:
    """The services, a client of each tenant, and what the first one has."""

    services: Services
    owner: FlaskClient
    stranger: FlaskClient
    values: dict[str, Any]  # by the name of a path's parameter

    def ask(self, client: FlaskClient, operation: str) -> TestResponse:
        """Send the operation for what the first tenant has."""
        method, rule = operation.split()
        path = re.sub(r"<(?:int:)?(\w+)>", lambda found: str(self.values[found[1]]), rule)
        query = {"upload": self.values["upload"]} if path.endswith("/complete") else {}
        query |= {"job": self.values["id"]} if path == "/v1/events" else {}
        return client.open(path, method=method, query_string=query, json=BODIES.get(operation))


@pytest.fixture(scope="module")
def tenants_app(connected: Services) -> OpenAPI:
    return create_app(with_keys(connected))


@pytest.fixture
def two(tenants_app: OpenAPI, services: Services) -> TwoTenants:
    services = with_keys(services)
    for tenant in (OWNER, STRANGER):
        add_tenant(services, tenant)
    owner, stranger = (client_of(tenants_app, services, tenant) for tenant in (OWNER, STRANGER))
    announce_workers(services)
    assert upload(owner, "style", lora()).status_code == 201
    request = {"prompt": "a cat", "seed": 7, "controlnets": [edge()], "loras": [{"name": "style"}]}
    job_id = owner.post("/v1/jobs", json=request).json["id"]
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    attempt.preview(base64_of(image_file()), 1)
    key = keys.image_key(job_id, attempt.token, 0)
    services.images.put(key, image_file(), content_type="image/png")
    succeed(attempt, [StoredImage(key=key, seed=7, width=64, height=64, sha256="a" * 64)])
    begun = owner.post("/v1/loras/other/upload").json
    staged = f"uploads/{lora_key('style', OWNER)}/{begun['upload']}"
    services.loras.put(staged, lora(rank=8), content_type=OCTETS)
    webhook = owner.post("/v1/webhooks", json={"url": "https://example.com/hooks"}).json
    values = {
        "id": job_id,
        "n": 0,
        "name": "style",
        "upload": begun["upload"],
        "key_id": "0" * 12,
        "webhook_id": webhook["id"],
    }
    return TwoTenants(services, owner, stranger, values)


def test_every_operation_of_the_app_says_whose_what_it_names_is(tenants_app: OpenAPI) -> None:
    operations = {
        f"{method} {rule.rule}"
        for rule in tenants_app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not DOCUMENTS.fullmatch(rule.rule)
    }
    assert operations == set(OPERATIONS)


def check_not_found_by_others(two: TwoTenants, operation: str) -> None:
    refused = two.ask(two.stranger, operation)
    assert (refused.status_code, refused.json["code"]) == (404, "not_found"), operation
    assert OWNER not in refused.text
    assert two.ask(two.owner, operation).status_code in (200, 201, 202, 204), operation


TENANTS = [name for name, kind in OPERATIONS.items() if kind == "a tenant's"]
READS = [name for name in TENANTS if name.startswith("GET ")]


def test_what_is_a_tenants_cannot_be_read_by_others(two: TwoTenants) -> None:
    for operation in READS:
        check_not_found_by_others(two, operation)


@pytest.mark.parametrize("operation", [name for name in TENANTS if name not in READS])
def test_what_is_a_tenants_cannot_be_changed_by_others(two: TwoTenants, operation: str) -> None:
    check_not_found_by_others(two, operation)


def test_what_only_admins_may_name_is_refused_to_others(two: TwoTenants) -> None:
    for operation in [name for name, kind in OPERATIONS.items() if kind == "admin"]:
        for client in (two.owner, two.stranger):
            refused = two.ask(client, operation)
            assert (refused.status_code, refused.json["code"]) == (403, "scope_missing"), operation


def test_another_tenants_job_is_said_to_be_missing_in_the_same_words(two: TwoTenants) -> None:
    job_id = two.values["id"]
    foreign = two.stranger.get(f"/v1/jobs/{job_id}")
    missing = two.stranger.get(f"/v1/jobs/{'0' * 16}")
    assert foreign.text.replace(job_id, "0" * 16) == missing.text


def test_lists_of_jobs_have_the_tenants_own(two: TwoTenants) -> None:
    [own] = two.owner.get("/v1/jobs").json["jobs"]
    assert own["id"] == two.values["id"]
    for query in ({}, {"status": "succeeded"}):
        assert two.stranger.get("/v1/jobs", query_string=query).json["jobs"] == []


def test_queue_positions_count_the_tenants_own_jobs(two: TwoTenants) -> None:
    ids = [two.owner.post("/v1/jobs", json={"prompt": "a cat"}).json["id"] for _ in range(2)]
    other = two.stranger.post("/v1/jobs", json={"prompt": "a dog"}).json["id"]
    positions = [two.owner.get(f"/v1/jobs/{job_id}").json["queue_position"] for job_id in ids]
    assert positions == [1, 2]
    assert two.stranger.get(f"/v1/jobs/{other}").json["queue_position"] == 1
    listed = two.owner.get("/v1/jobs", query_string={"status": "queued"}).json["jobs"]
    assert [job["queue_position"] for job in listed] == [2, 1]


def test_webhooks_and_their_secrets_are_the_tenants_own(two: TwoTenants) -> None:
    [own] = two.owner.get("/v1/webhooks").json["webhooks"]
    assert own["id"] == two.values["webhook_id"]
    assert two.stranger.get("/v1/webhooks").json["webhooks"] == []
    secrets = [
        client.get("/v1/webhooks/default/secret").json["secret"] for client in (two.owner, two.stranger)
    ]
    assert len(set(secrets)) == 2


def test_events_of_a_job_are_noted_for_its_tenant(two: TwoTenants) -> None:
    two.services.control.delete(keys.WEBHOOK_EVENTS)
    other = two.stranger.post("/v1/jobs", json={"prompt": "a dog"}).json["id"]
    own = two.owner.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    for client, job_id in ((two.stranger, other), (two.owner, own)):
        client.post(f"/v1/jobs/{job_id}/cancel")
    [(_, entry)] = two.services.control.xrange(keys.WEBHOOK_EVENTS)
    assert (entry["tenant"], entry["job"]) == (OWNER, own)


def test_an_idempotency_key_is_its_tenants(two: TwoTenants) -> None:
    header = {"Idempotency-Key": "k"}
    ids = {
        client.post("/v1/jobs", json={"prompt": prompt}, headers=header).json["id"]
        for client, prompt in ((two.owner, "a cat"), (two.stranger, "a dog"))
    }
    assert len(ids) == 2
    again = two.owner.post("/v1/jobs", json={"prompt": "a cat"}, headers=header)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json["id"] in ids


def test_an_image_by_its_hash_is_found_by_who_stored_it(two: TwoTenants) -> None:
    job = two.owner.get(f"/v1/jobs/{two.values['id']}").json
    named = {"prompt": "a cat", "controlnets": [edge(f"sha256:{job['request']['controlnets'][0]['image']}")]}
    assert two.owner.post("/v1/jobs", json=named).status_code == 202
    refused = two.stranger.post("/v1/jobs", json=named)
    assert (refused.status_code, refused.json["field"]) == (422, "controlnets.0.image")
    # Given that the stranger has the same image, it may name it
    own = {"prompt": "a cat", "controlnets": [edge(base64_of(image_file()))]}
    assert two.stranger.post("/v1/jobs", json=own).status_code == 202
    assert two.stranger.post("/v1/jobs", json=named).status_code == 202


def test_a_receipt_may_name_what_its_tenant_sees(two: TwoTenants) -> None:
    job = two.owner.get(f"/v1/jobs/{two.values['id']}").json
    two.services.loras.put(
        lora_key("style", OWNER), lora(), content_type=OCTETS, metadata={"sha256": "2" * 64}
    )
    replay = {"receipt": job["receipt"]}
    assert two.owner.post("/v1/jobs", json=replay).status_code == 202
    refused = two.stranger.post("/v1/jobs", json=replay)
    assert (refused.status_code, refused.json["field"]) == (422, "receipt.spec.loras.0.name")
    # Given a public LoRA of that name, its image is still another tenant's
    two.services.loras.put("style.safetensors", lora(), content_type=OCTETS, metadata={"sha256": "2" * 64})
    refused = two.stranger.post("/v1/jobs", json=replay)
    assert (refused.status_code, refused.json["field"]) == (410, "receipt.spec.controlnets.0.image")


def test_loras_that_are_listed_and_suggested_are_public_or_the_tenants_own(two: TwoTenants) -> None:
    for name in ("anime", "style"):
        two.services.loras.put(f"{name}.safetensors", lora(rank=8), content_type=OCTETS)
    upload(two.stranger, "zebra", lora())
    lists = [
        [(one["name"], one["size_bytes"]) for one in client.get("/v1/loras").json["loras"]]
        for client in (two.owner, two.stranger)
    ]
    small, large = len(lora()), len(lora(rank=8))
    assert lists == [
        [("anime", large), ("style", small)],
        [("anime", large), ("style", large), ("zebra", small)],
    ]
    public = {one["name"]: one["public"] for one in two.owner.get("/v1/loras").json["loras"]}
    assert public == {"anime": True, "style": False}
    unknown = two.stranger.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "x"}]}).json
    assert "known are anime, style, zebra" in unknown["detail"]


def test_pages_of_loras_mix_the_tenants_own_and_public_ones(two: TwoTenants) -> None:
    for name in ("a", "c", "z"):
        two.services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)
    names, cursor = [], ""
    while cursor is not None:
        page = two.owner.get("/v1/loras", query_string={"limit": 1, "cursor": cursor}).json
        names += [one["name"] for one in page["loras"]]
        cursor = page["next_cursor"]
    assert names == ["a", "c", "style", "z"]


def test_loras_that_are_called_as_the_folder_of_tenants_are_listed(two: TwoTenants) -> None:
    names = ["tenants", "tenants-2", "tenants2", "z"]
    for name in names:
        two.services.loras.put(f"{name}.safetensors", lora(), content_type=OCTETS)
    listed = [one["name"] for one in two.stranger.get("/v1/loras").json["loras"]]
    assert sorted(listed) == names


@pytest.mark.parametrize("cursor", [f"tenants/{OWNER}/", f"tenants/{OWNER}/a", "uploads/", "tenants"])
def test_no_cursor_leads_to_another_tenants_loras(two: TwoTenants, cursor: str) -> None:
    page = two.stranger.get("/v1/loras", query_string={"cursor": cursor}).json
    assert page == {"loras": [], "next_cursor": None}


def test_an_admin_sees_what_is_foreign_as_such(two: TwoTenants, tenants_app: OpenAPI) -> None:
    admin = client_of(tenants_app, two.services, keys.LOCAL, ("admin", "loras"))
    [one] = admin.get("/v1/loras").json["loras"]
    assert (one["name"], one["problem"]) == (lora_key("style", OWNER), f"it is of the tenant {OWNER!r}")
    assert admin.get("/v1/loras/style").status_code == 404


def test_a_public_lora_is_everybodys_to_use_and_nobodys_to_change(two: TwoTenants) -> None:
    public = two.services.loras.put("anime.safetensors", lora(), content_type=OCTETS)
    refused = two.stranger.delete("/v1/loras/anime")
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    # One's own of the same name hides it, from nobody else
    assert upload(two.stranger, "anime", lora(rank=8)).status_code == 201
    assert two.stranger.get("/v1/loras/anime").json["rank"] == 8
    assert two.owner.get("/v1/loras/anime").json["rank"] == 4
    assert two.services.loras.head("anime.safetensors").etag == public
    job = two.stranger.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": "anime"}]}).json
    [ref] = two.services.jobs.get(job["id"]).spec.loras
    assert (ref.name, ref.key) == ("anime", lora_key("anime", STRANGER))
    assert two.stranger.delete("/v1/loras/anime").status_code == 204
    assert two.stranger.get("/v1/loras/anime").json["rank"] == 4


def test_an_upload_straight_to_s3_is_completed_by_who_began_it(two: TwoTenants) -> None:
    path = f"/v1/loras/style/complete?upload={two.values['upload']}"
    assert two.stranger.post(path).status_code == 404
    done = two.owner.post(path)
    assert (done.status_code, done.json["rank"]) == (200, 8)
    assert two.stranger.post(path).status_code == 404
    assert two.owner.post(path).json["etag"] == done.json["etag"]
    form = two.stranger.post("/v1/loras/style/upload").json["fields"]
    assert form["key"].startswith(f"uploads/tenants/{STRANGER}/style.safetensors/")


def test_jobs_of_all_tenants_are_listed_to_admins_only(two: TwoTenants, tenants_app: OpenAPI) -> None:
    query = "/v1/jobs?tenants=all&fields=tenant,queue_position"
    own = two.stranger.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    listed = client_of(tenants_app, two.services, keys.LOCAL, ("admin",)).get(query).json["jobs"]
    assert {job["tenant"] for job in listed} == {OWNER, STRANGER}
    assert {job["id"]: job["queue_position"] for job in listed}[own] == 1  # in the queue of its tenant
    refused = two.stranger.get(query)
    assert (refused.status_code, refused.json["code"]) == (403, "scope_missing")
    assert [job["id"] for job in two.stranger.get("/v1/jobs?tenants=own").json["jobs"]] == [own]


def test_the_fleet_names_jobs_and_loras_of_others_to_admins_only(
    two: TwoTenants, tenants_app: OpenAPI
) -> None:
    job_id, bucket = two.values["id"], two.services.loras.name
    ref = two.services.jobs.get(job_id).spec.loras[0]
    own, public = version_of(bucket, "style", ref.etag, ref.key), version_of(bucket, "anime", "e")
    report = heartbeat("unet-1", "unet", "emoji-sd", [], {"edge": [job_id]})
    overdue = f"job {job_id} is past its deadline"
    report = report.model_copy(update={"jobs": [job_id], "unavailable_reasons": [overdue]})
    publish_heartbeat(two.services.control, report, 60)
    held = [f"emoji-sd@{own}", f"emoji-sd@{public}"]
    inventory = LoraInventory(
        worker="unet-1", host="here", serves=["emoji-sd"], loaded=[], patched=held, memory=held
    )
    publish_inventory(two.services.control, inventory, 60)
    publish_disk_cache(two.services.control, "here", [own, public], 60)

    def seen(client: FlaskClient) -> tuple[Any, ...]:
        fleet = client.get("/v1/fleet").json
        [worker] = [worker for worker in fleet["workers"] if worker["name"] == "unet-1"]
        [loras] = fleet["lora_inventory"]
        return (
            (worker["jobs"], worker["attached_jobs"], worker["unavailable_reasons"]),
            (loras["patched"], loras["memory"], fleet["lora_disk_cache"]["here"]),
        )

    assert job_id not in tenants_app.test_client().get("/readyz").text
    everything = (([job_id], {"edge": [job_id]}, [overdue]), (held, held, sorted([own, public])))
    assert seen(two.owner) == everything
    assert seen(client_of(tenants_app, two.services, keys.LOCAL, ("admin",))) == everything
    others = (([], {"edge": []}, ["a job is past its deadline"]), ([held[1]], [held[1]], [public]))
    assert seen(two.stranger) == others
    assert seen(client_of(tenants_app, two.services, keys.LOCAL)) == others


def test_metrics_name_tenants_to_admins_and_the_operators_own_tenant_only(
    two: TwoTenants, tenants_app: OpenAPI
) -> None:
    two.services.control.hset(keys.USAGE_SERIES, mapping={OWNER: 1500, STRANGER: 250, "_other": 50})

    def shown_to(tenant: str, scope: Scope) -> set[str]:
        answer = client_of(tenants_app, two.services, tenant, (scope,)).get("/metrics")
        assert answer.status_code == 200
        return set(re.findall(r'swift_tenant_device_seconds_total\{tenant="(\w+)"', answer.text))

    assert shown_to(STRANGER, "metrics") == {STRANGER}
    assert OWNER not in two.stranger.get("/metrics").text
    for tenant, scope in ((keys.LOCAL, "metrics"), (STRANGER, "admin")):
        assert shown_to(tenant, scope) == {OWNER, STRANGER, "_other"}


def test_limits_are_answered_429_with_what_is_left(two: TwoTenants, tenants_app: OpenAPI) -> None:
    add_tenant(two.services, "small", max_waiting_jobs=2, pixel_steps_per_day=64 * 64 * 4 * 2)
    client = client_of(tenants_app, two.services, "small")
    job = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 4}
    assert client.post("/v1/jobs", json=job).status_code == 202
    costly = client.post("/v1/jobs", json=job | {"num_images": 2})
    assert (costly.status_code, costly.json["code"]) == (429, "limit_exceeded")
    assert costly.headers["RateLimit-Policy"] == f'"pixel_steps_per_day";q={64 * 64 * 4 * 2};w=86400'
    assert re.fullmatch(rf'"pixel_steps_per_day";r={64 * 64 * 4};t=\d+', costly.headers["RateLimit"])
    assert 0 < int(costly.headers["Retry-After"]) <= 86_400
    assert client.post("/v1/jobs", json=job).status_code == 202
    full = client.post("/v1/jobs", json=job)
    assert (full.status_code, full.headers["RateLimit-Policy"]) == (429, '"max_waiting_jobs";q=2')
    assert int(full.headers["Retry-After"]) > 0


def test_a_submission_that_no_limit_leaves_room_for_is_refused_before_it_costs_anything(
    two: TwoTenants, tenants_app: OpenAPI
) -> None:
    add_tenant(two.services, "small", max_waiting_jobs=1)
    add_tenant(two.services, "spent", pixel_steps_per_day=64 * 64 * 4)
    job = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 4}
    for tenant in ("small", "spent"):
        client = client_of(tenants_app, two.services, tenant)
        assert client.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"}).status_code == 202
        # Given an image that would be refused if it were looked at
        refused = client.post("/v1/jobs", json=job | {"controlnets": [edge(base64_of(b"no image"))]})
        assert (refused.status_code, refused.json["code"]) == (429, "limit_exceeded")
        again = client.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"})
        assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("limits", [{"max_waiting_jobs": 1}, {"pixel_steps_per_day": 64 * 64 * 4 * 2 - 1}])
def test_refused_submissions_do_not_fill_the_image_bucket(
    two: TwoTenants, tenants_app: OpenAPI, limits: dict[str, int]
) -> None:
    add_tenant(two.services, "small", **limits)
    client = client_of(tenants_app, two.services, "small")
    job = {"prompt": "a cat", "width": 64, "height": 64, "num_inference_steps": 4, "controlnets": [edge()]}
    assert client.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"}).status_code == 202
    images = [stat.key for stat in two.services.images.list()]
    # Given submissions with images of their own, and with the accepted job's
    other = [edge(base64_of(image_file((64, 65 + n)))) for n in range(3)]
    for controlnets in (*([one] for one in other), [edge(), other[0]]):
        refused = client.post("/v1/jobs", json=job | {"controlnets": controlnets})
        assert refused.status_code == 429
    conflict = job | {"controlnets": [other[1]]}
    answer = client.post("/v1/jobs", json=conflict, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 409
    # Then what the accepted job needs is there, and nothing else
    assert [stat.key for stat in two.services.images.list()] == images
    assert two.services.control.zcard(keys.CONTROL_IMAGES_DELETED) == 0


def test_the_bytes_of_a_tenants_loras_are_limited(two: TwoTenants, tenants_app: OpenAPI) -> None:
    size = len(lora())
    add_tenant(two.services, "small", lora_bytes=2 * size)
    client = client_of(tenants_app, two.services, "small")
    assert [upload(client, name, lora()).status_code for name in ("a", "b")] == [201, 201]
    assert upload(client, "a", lora()).status_code == 200  # in its own place
    refused = upload(client, "c", lora())
    assert (refused.status_code, refused.json["code"]) == (429, "limit_exceeded")
    assert refused.headers["RateLimit-Policy"] == f'"lora_bytes";q={2 * size}'
    assert client.post("/v1/loras/c/upload").status_code == 429
    # Given room for a part of it, by both ways
    client.delete("/v1/loras/b")
    begun = client.post("/v1/loras/c/upload").json
    assert begun["max_bytes"] == size
    staged = f"uploads/{lora_key('c', 'small')}/{begun['upload']}"
    two.services.loras.put(staged, lora(rank=8), content_type=OCTETS)
    assert client.post(begun["complete"]).status_code == 429
    chunked = client.put("/v1/loras/c", data=lora(rank=8), content_type=OCTETS)
    assert chunked.status_code == 429
    stored = [stat.key for stat in two.services.loras.list() if "small" in stat.key]
    assert stored == [lora_key("a", "small")]


def test_files_that_were_uploaded_and_not_completed_count(two: TwoTenants, tenants_app: OpenAPI) -> None:
    size = len(lora())
    add_tenant(two.services, "small", lora_bytes=3 * size)
    client = client_of(tenants_app, two.services, "small")
    first, second = (client.post(f"/v1/loras/{name}/upload").json for name in ("a", "b"))
    for name, begun in (("a", first), ("b", second)):
        staged = f"uploads/{lora_key(name, 'small')}/{begun['upload']}"
        two.services.loras.put(staged, lora(), content_type=OCTETS)
    assert client.post("/v1/loras/c/upload").json["max_bytes"] == size
    refused = upload(client, "c", lora(rank=8))
    assert (refused.status_code, refused.headers["RateLimit"]) == (429, f'"lora_bytes";r={size};t=2')
    assert f"{2 * size} bytes are of uploads that were not completed" in refused.json["detail"]
    # Those two may be completed: they are counted once
    assert [client.post(begun["complete"]).status_code for begun in (first, second)] == [201, 201]
    assert upload(client, "c", lora()).status_code == 201


def test_forms_to_upload_by_are_limited_where_bytes_are(two: TwoTenants, tenants_app: OpenAPI) -> None:
    add_tenant(two.services, "small", lora_bytes=1 << 20)
    client = client_of(tenants_app, two.services, "small")
    begun = {str(n): time.time() + 60 for n in range(MAX_FORMS - 1)}
    two.services.control.zadd(keys.upload_forms("small"), begun)
    assert client.post("/v1/loras/a/upload").status_code == 201
    refused = client.post("/v1/loras/a/upload")
    assert (refused.status_code, refused.json["code"]) == (429, "limit_exceeded")
    assert refused.headers["RateLimit-Policy"] == f'"lora_upload_forms";q={MAX_FORMS};w=3600'
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert two.owner.post("/v1/loras/a/upload").status_code == 201
    # When their time is over there is room again
    two.services.control.zadd(keys.upload_forms("small"), {"0": 1.0})
    assert client.post("/v1/loras/a/upload").status_code == 201


def test_without_authentication_nothing_is_different(client: FlaskClient, services: Services) -> None:
    assert upload(client, "anime", lora()).status_code == 201
    job = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge()]}).json
    assert [stat.key for stat in services.loras.list()] == ["anime.safetensors"]
    [image] = services.images.list()
    assert re.fullmatch(r"control/[0-9a-f]{64}\.png", image.key)
    assert services.jobs.get(job["id"]).tenant == keys.LOCAL
    assert services.control.hgetall(keys.JOB_TENANTS) == {}
