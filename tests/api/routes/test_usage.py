from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.routes.usage import MAX_DAYS
from api.services import Services
from shared import keys
from shared.jobs.attempt import Used
from shared.jobs.record import StoredImage
from tests.api.services import receipt_of
from tests.api.tenants import add_tenant, client_of, with_keys

IMAGE = StoredImage(key="k", seed=7, width=64, height=64, sha256="0" * 64)


@pytest.fixture
def today(services: Services) -> str:
    return datetime.fromtimestamp(services.jobs.now(), UTC).date().isoformat()


def generate(client: FlaskClient, services: Services, used: Used | None = None, tenant: str = "") -> None:
    """A job from submission to its two images."""
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}).json["id"]
    if tenant:
        services.control.hset(keys.job(job_id), "tenant", tenant)
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    attempt.succeed([IMAGE, IMAGE], receipt_of(attempt.job.spec), [], used=used)


def usage(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/v1/usage{query}")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json["usage"]
    return found


def test_what_a_tenant_has_used_is_counted_by_day(
    client: FlaskClient, services: Services, today: str
) -> None:
    assert usage(client) == []
    for _ in range(2):
        generate(client, services, Used(device_s=1.25, image_bytes=1000))
    assert usage(client) == [
        {
            "day": today,
            "tenant": "local",
            "jobs": 2,
            "device_seconds": 2.5,
            "images": 4,
            "image_bytes": 2000,
        }
    ]


def test_an_admin_reads_all_tenants_or_one(client: FlaskClient, services: Services) -> None:
    for tenant in ("local", "acme"):
        generate(client, services, Used(device_s=1), tenant)
    assert [one["tenant"] for one in usage(client)] == ["acme", "local"]
    assert [one["tenant"] for one in usage(client, "?tenant=acme")] == ["acme"]
    assert usage(client, "?tenant=nobody") == []


def test_a_tenant_reads_its_own_usage_and_no_other(client: FlaskClient, services: Services) -> None:
    for tenant in ("local", "acme"):
        generate(client, services, Used(device_s=1), tenant)
    add_tenant(services, "acme")
    acme = client_of(create_app(with_keys(services)), services, "acme")
    assert [one["tenant"] for one in usage(acme)] == ["acme"]
    assert [one["tenant"] for one in usage(acme, "?tenant=acme")] == ["acme"]
    for other in ("local", "nobody"):
        refused = acme.get(f"/v1/usage?tenant={other}")
        assert (refused.status_code, refused.json["detail"]) == (404, f"there is no tenant {other!r}")


def test_days_are_named_in_utc_and_the_latest_is_first(client: FlaskClient, services: Services) -> None:
    day = datetime.fromtimestamp(services.jobs.now(), UTC).date()
    generate(client, services, Used(device_s=1))
    number = (day - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    services.control.hset(keys.usage(number - 2), "local:device_ms", 500)
    before = (day - timedelta(days=2)).isoformat()
    assert [(one["day"], one["device_seconds"]) for one in usage(client)] == [
        (day.isoformat(), 1.0),
        (before, 0.5),
    ]
    assert [one["day"] for one in usage(client, f"?until={before}")] == [before]
    assert [one["day"] for one in usage(client, f"?since={day}")] == [day.isoformat()]


@pytest.mark.parametrize(
    "query",
    [
        "?since=2026-02-30",
        "?since=yesterday",
        "?since=2026-11-02&until=2026-11-01",
        "?since=0001-01-01",
        f"?since=2026-01-01&until={datetime(2026, 1, 1) + timedelta(days=MAX_DAYS):%Y-%m-%d}",
        "?tenant=" + "a" * 33,
        "?month=11",
    ],
)
def test_days_that_cannot_be_answered_are_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/v1/usage{query}").status_code == 422


@pytest.mark.parametrize("until", ["0001-01-01", "9999-12-31"])
def test_days_on_which_nothing_was_used_are_left_out(client: FlaskClient, until: str) -> None:
    assert usage(client, f"?until={until}") == []
