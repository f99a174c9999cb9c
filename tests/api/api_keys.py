"""API keys of tests, and how requests carry them."""

import base64
from typing import Any

from flask.testing import FlaskClient

from shared.tenants.api_key import ApiKey

#: The same in every process that runs tests: they name parameters.
BOOTSTRAP_KEY = str(ApiKey("bootstrap000", "b" * 32))
UNKNOWN_KEY = str(ApiKey("unknown00000", "u" * 32))


def bearer(key: str = BOOTSTRAP_KEY) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a login."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def make_tenant(client: FlaskClient, tenant: str, **fields: Any) -> None:
    answer = client.post("/v1/tenants", json={"id": tenant, **fields}, headers=bearer())
    assert answer.status_code == 201, answer.json


def make_key(client: FlaskClient, tenant: str = "local", **fields: Any) -> str:
    """A new key of a tenant that exists."""
    answer = client.post(f"/v1/tenants/{tenant}/keys", json=fields, headers=bearer())
    assert answer.status_code == 201, answer.json
    key: str = answer.json["key"]
    return key
