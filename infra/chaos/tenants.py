"""Tenants of a run: each has a key and its own jobs, and sees nothing of the others'."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

from infra.chaos.target import ANSWER_S, Target
from infra.chaos.traffic import Accepted
from infra.cli.client import Client
from infra.local.stack import Stack

SCOPES = ("jobs", "loras")
#: Jobs of a page of a list: the most that the API returns.
PAGE = 200


def create_tenants(stack: Stack, count: int) -> dict[str, str]:
    """So many tenants with an API key each, by their ids."""
    admin, found = Client(stack.api_url, stack.api_key), {}
    for n in range(count):
        tenant = f"tenant-{n}"
        admin.call("POST", "/v1/tenants", {"id": tenant})
        made = admin.call("POST", f"/v1/tenants/{tenant}/keys", {"scopes": SCOPES})
        found[tenant] = str(made["key"])
    return found


def check_isolation(target: Target, accepted: Sequence[Accepted]) -> Iterator[str]:
    """What tenants see of jobs of others: each job is asked for with the key of the next tenant."""
    owners = {one.job_id: one.tenant for one in accepted}
    tenants = list(target.tenants)
    following = dict(zip(tenants, [*tenants[1:], *tenants[:1]], strict=True)) if len(tenants) > 1 else {}
    for job_id, owner in owners.items():
        if owner in following:
            other = following[owner]
            status = _get(target, f"/v1/jobs/{job_id}", other).status_code
            if status != 404:
                yield f"job {job_id} of {owner} was answered {status} to {other}"
    for tenant in tenants:
        foreign = [job_id for job_id in _listed(target, tenant) if owners.get(job_id, tenant) != tenant]
        if foreign:
            yield f"{len(foreign)} jobs of others are on the list of {tenant}: {foreign[:3]}"


def check_receivers(seen: Mapping[str, set[str]], owners: Mapping[str, str]) -> Iterator[str]:
    """Jobs whose webhooks came to another tenant than their own; ``seen``: to which they came."""
    for job_id, tenants in seen.items():
        foreign = tenants - {owners.get(job_id)}
        if job_id in owners and foreign:
            yield f"webhooks of job {job_id} of {owners[job_id]} came to {sorted(foreign)}"


def _listed(target: Target, tenant: str) -> Iterator[str]:
    """Ids of all jobs on the list of a tenant."""
    cursor: str | None = ""
    while cursor is not None:
        after = f"&cursor={cursor}" if cursor else ""
        page: Any = _get(target, f"/v1/jobs?limit={PAGE}&fields=id{after}", tenant).json()
        yield from (job["id"] for job in page["jobs"])
        cursor = page["next_cursor"]


def _get(target: Target, path: str, tenant: str) -> requests.Response:
    url = target.stack.api_url + path
    return requests.get(url, headers=target.headers(tenant), timeout=ANSWER_S)
