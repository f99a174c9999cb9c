"""Webhooks of a tenant, and what became of each delivery."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from api.services import Services
from shared import keys
from shared.webhooks.deliveries import NewDelivery, Settlement
from tests.browser import Screenshot
from tests.console.logins import call

URL = "https://example.com/hooks"
EVENTS = ["job.succeeded", "job.failed"]


def deliver(services: Services, endpoint: str, job: str, end: Settlement) -> None:
    """A delivery whose first attempt ended like this."""
    deliveries = services.webhook_deliveries
    entry = str(services.control.xadd(keys.WEBHOOK_EVENTS, {"any": "thing"}))
    made = NewDelivery(endpoint, f"msg_{job}_succeeded", "job.succeeded", job, url="", payload="{}")
    deliveries.add("local", entry, [made])
    taken = deliveries.take((), 60)
    assert taken is not None
    assert deliveries.settle("local", taken[1], end)


def test_a_webhook_is_created_with_a_secret_that_is_shown_once(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    page.goto(f"{api_only}/#/webhooks")
    expect(page.get_by_text("No webhook yet")).to_be_visible()
    page.get_by_role("button", name="New webhook").click()
    form = page.get_by_role("dialog", name="New webhook")
    form.get_by_label("Address").fill(URL)
    form.get_by_label("job.started").check()
    form.get_by_label("job.cancelled").uncheck()
    form.get_by_label("Description").fill("our own gallery")
    assert_accessible(page)
    screenshot(page, "webhook-form")
    form.get_by_role("button", name="Create").click()
    dialog = page.get_by_role("dialog", name="Secret of the new webhook")
    expect(dialog.locator("code")).to_contain_text("whsec_")
    secret = dialog.locator("code").inner_text()
    assert_accessible(page)
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row").filter(has_text=URL)).to_contain_text("enabled")
    assert secret not in page.content()
    [stored] = services.webhooks.all("local")
    assert (stored.events, stored.secrets[0].value) == (
        ["job.started", "job.succeeded", "job.failed"],
        secret,
    )
    assert_accessible(page)
    screenshot(page, "webhooks")


def test_a_private_address_is_refused_at_its_field(
    page: Page, api_only: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(422)
    page.goto(f"{api_only}/#/webhooks")
    page.get_by_role("button", name="New webhook").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Address").fill("http://10.0.0.1/")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
    expect(form.locator(".field-error")).to_contain_text("private")


def test_a_webhook_is_disabled_enabled_rotated_and_deleted(
    page: Page, api_only: str, services: Services
) -> None:
    call(api_only, "POST", "/v1/webhooks", {"url": URL, "events": EVENTS})
    page.goto(f"{api_only}/#/webhooks")
    row = page.get_by_role("row").filter(has_text=URL)
    row.get_by_role("button", name="Disable").click()
    expect(row.get_by_text("disabled")).to_be_visible()
    row.get_by_role("button", name="Enable").click()
    expect(row.get_by_text("enabled")).to_be_visible()
    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    dialog = page.get_by_role("dialog", name=f"New secret of {URL}")
    expect(dialog).to_contain_text("The old one signs until")
    [stored] = services.webhooks.all("local")
    assert dialog.locator("code").inner_text() == stored.secrets[0].value
    dialog.get_by_role("button", name="Done").click()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert services.webhooks.all("local") == []


def test_deliveries_show_the_last_answer_and_are_sent_again(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    created = call(api_only, "POST", "/v1/webhooks", {"url": URL, "events": EVENTS})
    endpoint = created["id"]
    deliver(services, endpoint, "a" * 16, Settlement("delivered", response_status=200))
    deliver(services, endpoint, "b" * 16, Settlement("failed", response_status=500))
    deliver(services, endpoint, "c" * 16, Settlement("failed", error="the receiver's name has no address"))
    deliver(services, endpoint, "d" * 16, Settlement("pending", 300.0, response_status=503))
    page.goto(f"{api_only}/#/webhooks")
    page.get_by_role("link", name=f"Deliveries to {URL}").click()
    rows = page.get_by_role("table", name="Deliveries").get_by_role("row")
    expect(rows.filter(has_text="a" * 16)).to_contain_text("HTTP 200")
    expect(rows.filter(has_text="b" * 16)).to_contain_text("HTTP 500")
    expect(rows.filter(has_text="c" * 16)).to_contain_text("the receiver's name has no address")
    expect(rows.filter(has_text="d" * 16)).to_contain_text("pending")
    assert_accessible(page)
    screenshot(page, "deliveries")
    page.get_by_role("button", name=f"Send msg_{'a' * 16}_succeeded again").click()
    expect(page.get_by_text("1 delivery sent again")).to_be_visible()
    page.get_by_role("button", name="Send all failed again").click()
    expect(page.get_by_text("2 deliveries sent again")).to_be_visible()
    expect(rows.filter(has_text="pending")).to_have_count(4)


def test_deliveries_of_one_job_are_shown_alone(page: Page, api_only: str, services: Services) -> None:
    endpoint = call(api_only, "POST", "/v1/webhooks", {"url": URL, "events": EVENTS})["id"]
    for job in ("a" * 16, "b" * 16):
        deliver(services, endpoint, job, Settlement("delivered", response_status=200))
    page.goto(f"{api_only}/#/webhooks/{endpoint}?job={'b' * 16}")
    rows = page.get_by_role("table", name="Deliveries").get_by_role("row")
    expect(rows.filter(has_text="b" * 16)).to_be_visible()
    expect(rows.filter(has_text="a" * 16)).to_have_count(0)
    page.get_by_role("link", name="of all jobs").click()
    expect(rows.filter(has_text="a" * 16)).to_be_visible()


def test_the_secret_of_jobs_own_webhooks_can_be_read_again(
    page: Page, api_only: str, services: Services
) -> None:
    page.goto(f"{api_only}/#/webhooks")
    page.get_by_role("button", name="Show the secret").click()
    secret = page.get_by_role("dialog").locator("code").inner_text()
    assert secret == call(api_only, "GET", "/v1/webhooks/default/secret")["secret"]
