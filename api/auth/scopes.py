"""Which scope each route needs: declared here once, by blueprint, and by endpoint where that differs."""

from collections.abc import Mapping

from shared.tenants.scopes import Scope

#: One of these scopes is enough. An empty set: any key. ``None``: no key.
Needed = frozenset[Scope] | None

JOBS: Needed = frozenset({"jobs"})
LORAS: Needed = frozenset({"loras"})
FLEET: Needed = frozenset({"fleet"})
METRICS: Needed = frozenset({"metrics"})
ADMIN: Needed = frozenset({"admin"})
#: What who submits jobs has to read, too.
JOBS_OR_LORAS: Needed = frozenset({"jobs", "loras"})
JOBS_OR_FLEET: Needed = frozenset({"jobs", "fleet"})
ANY_KEY: Needed = frozenset()
OPEN: Needed = None

NEEDED: Mapping[str, Needed] = {
    "jobs": JOBS,
    "images": JOBS,
    "openai": JOBS,
    "a1111": JOBS,
    "events": JOBS,
    "webhooks": JOBS,
    "usage": JOBS,
    "loras": LORAS,
    "loras.list_bucket": JOBS_OR_LORAS,
    "loras.read_lora": JOBS_OR_LORAS,
    "fleet": FLEET,
    "fleet.list_models": JOBS_OR_FLEET,
    "fleet.read_model": JOBS_OR_FLEET,
    "fleet.list_controlnets": JOBS_OR_FLEET,
    "tenants": ADMIN,
    "api_keys": ADMIN,
    "audit": ADMIN,
    "session": ANY_KEY,
    "session.log_in": OPEN,
    "health": OPEN,
    "health.metrics": METRICS,
    "console": OPEN,
    "document": OPEN,
    "docs": OPEN,
    "openapi": OPEN,
    "swagger": OPEN,
    "static": OPEN,
}


def needed_for(endpoint: str | None) -> Needed:
    """What a request to ``endpoint`` needs; one that is not declared is the admins'. ``None``: no route."""
    if endpoint is None:
        return ANY_KEY
    blueprint = endpoint.rpartition(".")[0]
    return NEEDED[endpoint] if endpoint in NEEDED else NEEDED.get(blueprint, ADMIN)
