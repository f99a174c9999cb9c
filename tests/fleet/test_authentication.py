"""A whole fleet that asks for keys: ``SWIFT_AUTH=keys make up``."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.cli.client import ApiError
from infra.cli.client import Client as RestClient
from infra.local.stack import OUTPUT, Stack
from tests.fleet.conftest import ANSWER_S, running_client
from tests.infra.local.waiting import eventually


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("keyed") / "run"
    with running_client(home, auth="keys", unet_workers=1) as client:
        yield client.stack


@pytest.fixture(scope="module")
def admin(stack: Stack) -> RestClient:
    return RestClient(stack.api_url, stack.api_key)


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
    assert [name.split("@")[0] for name in workers.json()] == ["unet1"]
    made = admin.call("POST", "/v1/tenants/local/keys", {"scopes": ["jobs", "fleet"]})
    assert requests.get(url, auth=("anybody", made["key"]), timeout=ANSWER_S).status_code == 403
    login = (stack.env["FLOWER_USER"], stack.env["FLOWER_PASSWORD"])
    assert requests.get(url, auth=login, timeout=ANSWER_S).status_code == 200


def test_a_key_works_from_the_submission_to_the_image_until_it_is_revoked(
    stack: Stack, admin: RestClient
) -> None:
    # Given a key of a tenant, for jobs alone
    admin.call("POST", "/v1/tenants", {"id": "acme"})
    made = admin.call("POST", "/v1/tenants/acme/keys", {"scopes": ["jobs"]})
    client = RestClient(stack.api_url, made["key"])
    # Then it generates, follows and fetches
    steps: list[int] = []
    result = client.generate("a red apple", seed=7, on_progress=lambda step, _: steps.append(step))
    assert result.images[0].startswith(b"\x89PNG")
    assert steps
    with pytest.raises(ApiError, match="lacks scope fleet"):
        client.read("/v1/fleet")
    # And ends when it is revoked
    admin.call("DELETE", f"/v1/tenants/acme/keys/{made['id']}")
    eventually(lambda: is_revoked(client))  # as long as the API may not know
    acts = admin.read("/v1/audit")["acts"]
    assert [act["operation"] for act in acts[:3]] == ["revoke_key", "create_key", "create_tenant"]
