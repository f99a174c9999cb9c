"""Tenants with their limits, and what they have used, for admins."""

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from api.services import Services
from shared import keys
from tests.api.tenants import add_tenant
from tests.browser import Screenshot
from tests.console.logins import call, log_in, make_key

DAY_S = 86_400


def test_a_tenant_is_created_with_limits_changed_and_deleted(
    page: Page,
    keyed_api: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/tenants")
    page.get_by_role("button", name="New tenant").click()
    form = page.get_by_role("dialog", name="New tenant")
    form.get_by_label("Id").fill("acme")
    form.get_by_label("Name").fill("Acme Inc.")
    form.get_by_label("Weight").fill("2.5")
    form.get_by_label("interactive").uncheck()
    form.get_by_label("Jobs that wait").fill("100")
    form.get_by_label("Bytes of own LoRAs").fill("5000000000")
    assert_accessible(page)
    screenshot(page, "tenant-form")
    form.get_by_role("button", name="Create").click()
    acme = page.get_by_role("row").filter(has_text="Acme Inc.")
    expect(acme.get_by_role("list", name="Limits of acme")).to_have_text("100 jobs waiting5.0 GB of LoRAs")
    assert_accessible(page)
    screenshot(page, "tenants")
    page.get_by_role("button", name="Edit acme").click()
    page.get_by_role("dialog").get_by_label("Jobs that wait").fill("")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(acme.get_by_role("list", name="Limits of acme")).to_have_text("5.0 GB of LoRAs")
    tenant = call(keyed_api, "GET", "/v1/tenants/acme")
    assert (tenant["weight"], tenant["priorities"]) == (2.5, ["normal", "batch"])
    assert tenant["limits"]["max_waiting_jobs"] is None
    page.get_by_role("button", name="Delete acme").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(acme).to_have_count(0)
    assert [one["id"] for one in call(keyed_api, "GET", "/v1/tenants")["tenants"]] == ["local"]


def test_what_is_wrong_with_a_tenant_stands_at_its_field(
    page: Page,
    keyed_api: str,
    services: Services,
    allowed_statuses: set[int],
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    allowed_statuses.update({409, 422})
    add_tenant(services, "acme")
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/tenants")
    page.get_by_role("button", name="New tenant").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Id").fill("Acme Inc.")
    form.get_by_label("Jobs that run").fill("-1")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_label("Id")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("Jobs that run")).to_have_attribute("aria-invalid", "true")
    assert_accessible(page)
    screenshot(page, "tenant-errors")
    form.get_by_label("Id").fill("acme")
    form.get_by_label("Jobs that run").fill("1")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert")).to_contain_text("acme")


def test_usage_is_shown_by_day_and_listed_by_tenant(
    page: Page,
    keyed_api: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    today = int(time.time() // DAY_S)
    add_tenant(services, "acme")
    for ago, tenant, jobs in [(0, "acme", 12), (0, "local", 3), (2, "acme", 40), (9, "acme", 25)]:
        counted = {"jobs": jobs, "device_ms": jobs * 4000, "images": 2 * jobs, "image_bytes": jobs * 500_000}
        fields = {f"{tenant}:{name}": count for name, count in counted.items()}
        services.control.hset(keys.usage(today - ago), mapping=fields)
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/tenants")
    page.get_by_role("link", name="Usage", exact=True).click()
    expect(
        page.get_by_role("img", name="Device time by day: 5 min 20 s in all").locator("canvas")
    ).to_be_visible()
    rows = page.get_by_role("table", name="Usage by day and tenant").get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("acme")
    assert_accessible(page)
    screenshot(page, "usage")
    page.get_by_label("Period").select_option("7 days")
    expect(rows).to_have_count(4)
    page.get_by_label("Tenant", exact=True).select_option("local")
    expect(rows).to_have_count(2)


def test_views_of_admins_are_shown_to_admins_alone(page: Page, keyed_api: str, services: Services) -> None:
    add_tenant(services, "acme")
    log_in(page, keyed_api, make_key(keyed_api, "acme", scopes=["jobs", "fleet"]))
    page.goto(keyed_api)
    links = page.get_by_role("navigation").get_by_role("link")
    expect(links.filter(has_text="Webhooks")).to_be_visible()
    expect(links.filter(has_text="Tenants")).to_have_count(0)
    expect(links.filter(has_text="API keys")).to_have_count(0)
