"""Tenants with API keys, for tests of the web with authentication on."""

from dataclasses import replace

from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from api.services import Services
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import StoredKey
from shared.tenants.scopes import Scope
from shared.tenants.tenant import Tenant, TenantLimits

#: All scopes but that of admins.
PLAIN: tuple[Scope, ...] = ("jobs", "loras", "fleet", "metrics")


def with_keys(services: Services) -> Services:
    """The same services with authentication on."""
    return replace(services, settings=services.settings.model_copy(update={"auth": "keys"}))


def add_tenant(services: Services, tenant: str, **limits: int) -> None:
    """Store a tenant with these limits."""
    services.tenants.create(Tenant(id=tenant, created_at=0.0, limits=TenantLimits(**limits)))


def add_key(services: Services, tenant: str, scopes: tuple[Scope, ...] = PLAIN) -> ApiKey:
    """Store a new key of the tenant."""
    key = ApiKey.random()
    stored = StoredKey(id=key.id, tenant=tenant, scopes=scopes, sha256=key.sha256, created_at=0.0)
    services.api_keys.add(stored)
    return key


def client_of(
    app: OpenAPI, services: Services, tenant: str, scopes: tuple[Scope, ...] = PLAIN
) -> FlaskClient:
    """A client that sends a new key of the tenant with every request."""
    key = add_key(services, tenant, scopes)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client
