"""A whole fleet that asks for keys: ``SWIFT_AUTH=keys make up``."""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from infra.cli.client import ApiError
from infra.cli.client import Client as RestClient
from infra.local.s3_client import make_s3_client
from infra.local.stack import OUTPUT, Stack
from tests.fleet.conftest import ANSWER_S, Client
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from tests.unique_names import unique

LORAS = {"north": EMOJI / "loras" / "twemoji.safetensors", "south": EMOJI / "loras" / "outline.safetensors"}
#: A tenant with a LoRA, which is deleted before the first job of the others.
GONE = "west"

#: A worker sweeps every thirty seconds; the machine may be busy.
SWEPT_S = 180.0


class Tenant(NamedTuple):
    """A tenant and a client with a key of its own."""

    id: str
    client: RestClient


@pytest.fixture(scope="module")
def stack(keyed: Client) -> Stack:
    return keyed.stack


@pytest.fixture(scope="module")
def admin(stack: Stack) -> RestClient:
    return RestClient(stack.api_url, stack.api_key)


@pytest.fixture(scope="module")
def tenants(stack: Stack, admin: RestClient) -> dict[str, Tenant]:
    """Two tenants, each with a LoRA of its own by the same name: one over REST, one with an S3 client.

    A third one, `GONE`, has been deleted: its LoRA goes while the others' jobs run.
    """
    tenants = {}
    for name in (GONE, *LORAS):
        tenant = unique(name)
        admin.call("POST", "/v1/tenants", {"id": tenant})
        made = admin.call("POST", f"/v1/tenants/{tenant}/keys", {"scopes": ["jobs", "loras"]})
        body = LORAS.get(name, LORAS["north"]).read_bytes()
        if name == "south":
            key, bucket = f"tenants/{tenant}/style.safetensors", stack.env["SWIFT_LORA_BUCKET"]
            make_s3_client(stack.env).put_object(Bucket=bucket, Key=key, Body=body)
        else:
            put_lora(stack, made["key"], "style", body)
        tenants[name] = Tenant(tenant, RestClient(stack.api_url, made["key"]))
    gone = tenants[GONE]
    gone.client.submit({"prompt": "a red apple", "num_inference_steps": 1, "loras": [{"name": "style"}]})
    assert keys_in(stack, f"tenants/{gone.id}/")
    admin.call("DELETE", f"/v1/tenants/{gone.id}")
    return tenants


def put_lora(stack: Stack, key: str, name: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{stack.api_url}/v1/loras/{name}"
    answer = requests.put(url, data=body, headers=headers, timeout=ANSWER_S)
    assert answer.status_code == 201, answer.text


def generate(client: RestClient, lora: str) -> tuple[NDArray[np.int16], str]:
    """The image of a job with a LoRA, and the hash of the LoRA's file by its receipt."""
    options = {"num_inference_steps": 5, "lora_loading": {"mode": "exact"}}
    result = client.generate("a red apple", seed=7, loras={lora: 1.0}, **options)
    pixels = np.asarray(Image.open(io.BytesIO(result.images[0])), dtype=np.int16)
    return pixels, str(result.job["receipt"]["loras"][0]["sha256"])


def keys_in(stack: Stack, folder: str) -> list[str]:
    answer = make_s3_client(stack.env).list_objects_v2(Bucket=stack.env["SWIFT_LORA_BUCKET"], Prefix=folder)
    return [item["Key"] for item in answer.get("Contents", [])]


def is_revoked(client: RestClient) -> bool:
    try:
        client.read("/v1/jobs")
    except ApiError as error:
        return error.code == "key_revoked"
    return False


def test_the_bootstrap_key_is_shown_once_and_kept_in_a_file(stack: Stack) -> None:
    key = stack.api_key
    assert key is not None
    assert (stack.home / OUTPUT).read_text().count(key) == 1
    assert Path(stack.env["SWIFT_API_KEY_FILE"]).stat().st_mode & 0o777 == 0o600
    assert key not in (stack.home / "env").read_text()
    assert [
        path.name for path in (stack.home / "logs").iterdir() if key in path.read_text(errors="replace")
    ] == []


def test_the_api_and_flower_refuse_whoever_has_no_key(stack: Stack) -> None:
    assert requests.get(f"{stack.api_url}/v1/jobs", timeout=ANSWER_S).status_code == 401
    assert (
        requests.post(f"{stack.api_url}/v1/jobs", json={"prompt": "a"}, timeout=ANSWER_S).status_code == 401
    )
    assert requests.get(f"{stack.api_url}/metrics", timeout=ANSWER_S).status_code == 401
    assert requests.get(f"{stack.api_url}/healthz", timeout=ANSWER_S).status_code == 200
    for path in ("/", "/api/workers", "/api/tasks", "/metrics"):
        assert requests.get(stack.flower_url + path, timeout=ANSWER_S).status_code == 401, path


def test_an_admins_key_opens_flower_and_another_one_does_not(stack: Stack, admin: RestClient) -> None:
    url = f"{stack.flower_url}/api/workers"
    workers = requests.get(url, auth=("anybody", stack.api_key or ""), timeout=ANSWER_S)
    assert "unet1" in {name.split("@")[0] for name in workers.json()}
    made = admin.call("POST", "/v1/tenants/local/keys", {"scopes": ["jobs", "fleet"]})
    assert requests.get(url, auth=("anybody", made["key"]), timeout=ANSWER_S).status_code == 403
    login = (stack.env["FLOWER_USER"], stack.env["FLOWER_PASSWORD"])
    assert requests.get(url, auth=login, timeout=ANSWER_S).status_code == 200


def test_a_key_works_from_the_submission_to_the_image_until_it_is_revoked(
    stack: Stack, admin: RestClient
) -> None:
    # Given a key of a tenant, for jobs alone
    tenant = unique("acme")
    admin.call("POST", "/v1/tenants", {"id": tenant})
    made = admin.call("POST", f"/v1/tenants/{tenant}/keys", {"scopes": ["jobs"]})
    client = RestClient(stack.api_url, made["key"])
    # Then it generates, follows and fetches
    steps: list[int] = []
    result = client.generate("a red apple", seed=7, on_progress=lambda step, _: steps.append(step))
    assert result.images[0].startswith(b"\x89PNG")
    assert steps
    with pytest.raises(ApiError, match="lacks scope fleet"):
        client.read("/v1/fleet")
    # And ends when it is revoked
    admin.call("DELETE", f"/v1/tenants/{tenant}/keys/{made['id']}")
    eventually(lambda: is_revoked(client))  # as long as the API may not know
    acts = admin.read("/v1/audit")["acts"]
    assert [act["operation"] for act in acts[:3]] == ["revoke_key", "create_key", "create_tenant"]


def test_a_tenants_own_lora_is_patched_and_not_that_of_another_by_the_same_name(
    stack: Stack, admin: RestClient, tenants: dict[str, Tenant]
) -> None:
    # Given the same files as public LoRAs by names of their own
    expected = {}
    for name, path in LORAS.items():
        public = unique(name)
        put_lora(stack, stack.api_key or "", public, path.read_bytes())
        expected[name] = generate(admin, public)
    assert not np.array_equal(expected["north"][0], expected["south"][0])
    # When both tenants name theirs, in turns, on one worker
    for name in (*LORAS, *LORAS):
        pixels, sha256 = generate(tenants[name].client, "style")
        # Then each gets its own
        assert sha256 == expected[name][1] == hashlib.sha256(LORAS[name].read_bytes()).hexdigest()
        assert np.array_equal(pixels, expected[name][0])


def test_a_tenant_with_one_job_waits_for_no_flood_of_another(tenants: dict[str, Tenant]) -> None:
    # Given many jobs of one tenant, on a fleet of one UNet worker, and then one of another tenant
    many = {"prompt": "a red apple", "num_inference_steps": 12, "latent_parallelism": "off"}
    north, south = tenants["north"].client, tenants["south"].client
    flood = [north.submit(many) for _ in range(6)]
    one = south.submit(many)
    # Then that one begins after the job that runs and the one in the queue, and all end
    ended = [ended_job(north, job["id"]) for job in flood]
    served = ended_job(south, one["id"])
    assert {job["status"] for job in (*ended, served)} == {"succeeded"}
    began_before = [job for job in ended if served["created_at"] < job["started_at"] < served["started_at"]]
    assert len(began_before) <= 2
    assert any(job["started_at"] > served["started_at"] for job in ended)


def ended_job(client: RestClient, job_id: str) -> dict[str, Any]:
    """A job once it has ended."""
    for _ in client.events(f"/v1/jobs/{job_id}/events"):
        pass
    return client.read(f"/v1/jobs/{job_id}")


def test_what_a_deleted_tenant_has_left_is_deleted_and_that_of_another_stays(
    stack: Stack, tenants: dict[str, Tenant]
) -> None:
    gone, south = tenants[GONE], tenants["south"]
    eventually(lambda: not keys_in(stack, f"tenants/{gone.id}/"), timeout_s=SWEPT_S)
    assert keys_in(stack, f"tenants/{south.id}/") == [f"tenants/{south.id}/style.safetensors"]
    assert [job["id"] for job in south.client.read("/v1/jobs")["jobs"]]
