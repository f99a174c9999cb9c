"""The queue: what waits and runs, moved by the event stream, and cancelling."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from api.services import Services
from shared.errors import JobCancelled
from tests.api.api_keys import BOOTSTRAP_KEY
from tests.api.tenants import add_tenant
from tests.browser import Screenshot
from tests.console.jobs import add_job, begin, failed, finished, succeed

Check = Callable[..., None]


#: Notes the text of each row in which anything changes but what a clock moves.
NOTE_TOUCHED_ROWS = """() => {
  window.touched = new Set();
  const note = ({ target }) => {
    const element = target.closest ? target : target.parentElement;
    if (["Age", "Done in"].includes(element.closest("td")?.dataset.label)) return;
    window.touched.add(element.closest("tr")?.innerText ?? "no row");
  };
  const kinds = { subtree: true, childList: true, attributes: true, characterData: true };
  new MutationObserver((changes) => changes.forEach(note)).observe(document.querySelector("tbody"), kinds);
}"""


def row(page: Page, prompt: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=prompt, exact=True))


def prompts(page: Page) -> list[str]:
    return page.locator("tbody th a").all_inner_texts()


def test_the_queue_shows_what_runs_and_then_what_waits_by_its_place(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    running = begin(services, add_job(services, "a running job"), 3)
    for prompt, priority in (("first", "interactive"), ("second", "normal"), ("third " * 30, "batch")):
        add_job(services, prompt, priority=priority)
    page.goto(f"{api_only}/#/queue")
    expect(row(page, "first")).to_contain_text("interactive")
    assert prompts(page) == ["a running job", "first", "second", ("third " * 30)[:100].strip()]
    expect(page.get_by_role("progressbar", name="Progress of a running job")).to_have_attribute("value", "3")
    expect(row(page, "second").locator("[data-label=Place]")).to_have_text("2")
    expect(row(page, "second").locator("[data-label='Done in']")).to_contain_text("≈ 1 min")
    assert_accessible(page)
    screenshot(page, "queue")
    # When things happen, nobody needs to reload
    running.advance(5, 12)
    expect(page.get_by_role("progressbar", name="Progress of a running job")).to_have_attribute("value", "5")
    succeed(services, running)
    expect(row(page, "a running job")).to_have_count(0)
    begin(services, services.jobs.page(status="queued")[0][-1].id)  # the oldest
    expect(row(page, "first")).to_contain_text("running")
    expect(row(page, "second").locator("[data-label=Place]")).to_have_text("1")
    add_job(services, "a new one")
    expect(row(page, "a new one").locator("[data-label=Place]")).to_have_text("3")


def test_an_event_renders_the_row_of_its_job_alone(page: Page, api_only: str, services: Services) -> None:
    running = begin(services, add_job(services, "a running job"), 1)
    for n in range(400):
        add_job(services, f"job {n}")
    page.goto(f"{api_only}/#/queue")
    expect(page.get_by_text("401 jobs")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.evaluate(NOTE_TOUCHED_ROWS)
    running.advance(7, 12)
    expect(page.get_by_role("progressbar", name="Progress of a running job")).to_have_attribute("value", "7")
    touched = page.evaluate("[...window.touched]")
    assert len(touched) == 1, touched
    assert "a running job" in touched[0]


def test_a_job_is_cancelled_from_its_row(page: Page, api_only: str, services: Services) -> None:
    job_id = add_job(services, "not wanted")
    add_job(services, "wanted")
    page.goto(f"{api_only}/#/queue")
    page.get_by_role("button", name="Cancel not wanted").click()
    expect(row(page, "not wanted")).to_have_count(0)
    expect(row(page, "wanted")).to_be_visible()
    assert services.jobs.get(job_id).status == "cancelled"


def test_all_that_wait_are_cancelled_once_that_is_confirmed(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    attempt = begin(services, add_job(services, "a running job"), 3)
    waiting = [add_job(services, f"job {n}") for n in range(30)]
    page.goto(f"{api_only}/#/queue")
    button = page.get_by_role("button", name="Cancel all waiting")
    button.click()
    dialog = page.get_by_role("dialog", name="Cancel 30 jobs that wait?")
    expect(dialog).to_be_visible()
    assert_accessible(page)
    screenshot(page, "queue-cancel-all")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    assert services.jobs.get(waiting[0]).status == "queued"
    button.click()
    page.get_by_role("button", name="Cancel 30", exact=True).click()
    expect(page.get_by_text("30 jobs cancelled")).to_be_visible()
    assert {services.jobs.get(job_id).status for job_id in waiting} == {"cancelled"}
    assert services.jobs.get(attempt.job.id).status == "running"
    # Then all of mine, the running one too
    page.get_by_role("button", name="Cancel all of mine").click()
    page.get_by_role("button", name="Cancel 1", exact=True).click()
    expect(page.get_by_text("1 job cancelled")).to_be_visible()
    with pytest.raises(JobCancelled):
        attempt.advance(4, 12)


def test_what_could_not_be_cancelled_is_said_and_tried_again(
    page: Page,
    api_only: str,
    services: Services,
    allowed_statuses: set[int],
    assert_accessible: Check,
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(500)
    refused = add_job(services, "stubborn")
    add_job(services, "another")

    body = '{"detail": "no reply of Redis"}'

    def refuse(route: Route) -> None:
        route.fulfill(status=500, content_type="application/problem+json", body=body)

    pattern = f"**/v1/jobs/{refused}/cancel"
    page.route(pattern, refuse)
    page.goto(f"{api_only}/#/queue")
    page.get_by_role("button", name="Cancel all waiting").click()
    page.get_by_role("button", name="Cancel 2", exact=True).click()
    expect(page.get_by_text("1 job cancelled, 1 not")).to_be_visible()
    expect(page.get_by_text(f"{refused}: no reply of Redis")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "queue-not-cancelled")
    page.unroute(pattern)
    page.get_by_role("button", name="Try these again").click()
    expect(page.get_by_text("1 job cancelled")).to_be_visible()
    assert services.jobs.get(refused).status == "cancelled"


def test_earlier_jobs_are_found_by_status_and_in_pages(
    page: Page, api_only: str, services: Services, assert_accessible: Check, screenshot: Screenshot
) -> None:
    for n in range(205):
        services.jobs.cancel(add_job(services, f"job {n}"))
    failed(services, "a failure")
    finished(services, "a success")
    page.goto(f"{api_only}/#/queue")
    expect(page.get_by_text("Nothing waits, nothing runs")).to_be_visible()
    screenshot(page, "queue-empty")
    page.get_by_label("Status").select_option("all")
    expect(page.get_by_text("200 jobs, and older ones")).to_be_visible()
    assert prompts(page)[:3] == ["a success", "a failure", "job 204"]
    assert_accessible(page, but="tbody tr:nth-child(n + 9)")
    page.get_by_role("button", name="Show older jobs").click()
    expect(page.get_by_text("207 jobs", exact=True)).to_be_visible()
    assert prompts(page)[-1] == "job 0"
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    assert prompts(page) == ["a failure"]
    screenshot(page, "queue-failed")
    assert page.url.endswith("#/queue?status=failed&tenants=own")
    page.go_back()
    expect(page.get_by_label("Status")).to_have_value("all")


def test_a_job_that_is_deleted_elsewhere_leaves_the_list(
    page: Page, api_only: str, services: Services
) -> None:
    ended, live = finished(services, "a success"), add_job(services, "waits")
    finished(services, "stays")
    page.goto(f"{api_only}/#/queue?status=all")
    expect(page.get_by_text("3 jobs", exact=True)).to_be_visible()
    for job_id in (ended, live):
        services.jobs.delete(job_id)
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    assert prompts(page) == ["stays"]


def test_an_admin_sees_the_jobs_of_all_tenants(
    page: Page,
    keyed_api: str,
    services: Services,
    allowed_statuses: set[int],
    assert_accessible: Check,
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(401)
    add_tenant(services, "acme")
    add_job(services, "my own")
    add_job(services, "another's", tenant="acme")
    page.goto(f"{keyed_api}/#/queue")
    page.get_by_label("API key").fill(BOOTSTRAP_KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    page.get_by_label("Tenants").select_option("all")
    other = page.get_by_role("row").filter(has_text="another's")
    expect(other).to_contain_text("acme")
    expect(other.get_by_role("link")).to_have_count(0)  # its job is not found by others
    expect(other.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel my own")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "queue-all-tenants")
