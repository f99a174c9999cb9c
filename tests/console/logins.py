"""How tests of an API with keys make keys and log browsers in."""

from typing import Any

import requests
from playwright.sync_api import Page

from tests.api.api_keys import BOOTSTRAP_KEY, bearer

ANSWER_S = 30.0


def call(address: str, method: str, path: str, body: object = None, key: str = BOOTSTRAP_KEY) -> Any:
    """What the API answers to a request with a key."""
    answer = requests.request(method, address + path, json=body, headers=bearer(key), timeout=ANSWER_S)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def make_key(address: str, tenant: str = "local", **fields: Any) -> str:
    """A new key of a tenant that exists."""
    key: str = call(address, "POST", f"/v1/tenants/{tenant}/keys", fields)["key"]
    return key


def log_in(page: Page, address: str, key: str = BOOTSTRAP_KEY) -> None:
    """Give the browser the cookie of a session, as the login view does."""
    answer = page.request.post(f"{address}/v1/session", data={"key": key})
    assert answer.ok, answer.text()
