"""API keys and the audit log, for admins."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from api.services import Services
from tests.api.api_keys import bearer
from tests.browser import Screenshot
from tests.console.logins import ANSWER_S, call, log_in, make_key


@pytest.fixture
def keys_page(page: Page, keyed_api: str, services: Services) -> Page:
    """The view of an admin, to whom no key belongs but the bootstrap key."""
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/keys")
    return page


def status_of(address: str, key: str) -> int:
    return requests.get(f"{address}/v1/session", headers=bearer(key), timeout=ANSWER_S).status_code


def secret_in(page: Page) -> tuple[Locator, str]:
    dialog = page.get_by_role("dialog", name="New API key")
    expect(dialog.locator("code")).to_contain_text("swk_")
    return dialog, dialog.locator("code").inner_text()


def test_a_new_key_is_shown_once_and_may_do_what_was_ticked(
    keys_page: Page,
    keyed_api: str,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    page = keys_page
    expect(page.get_by_text("This tenant has no keys")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key of local")
    form.get_by_label("Name").fill("gallery server")
    form.get_by_label("loras:").uncheck()
    form.get_by_label("fleet:").check()
    form.get_by_label("Ends").select_option("in 30 days")
    assert_accessible(page)
    screenshot(page, "key-form")
    form.get_by_role("button", name="Make the key").click()
    dialog, key = secret_in(page)
    assert_accessible(page)
    screenshot(page, "key-secret")
    dialog.get_by_role("button", name="Done").click()
    made = page.get_by_role("row").filter(has_text="gallery server")
    expect(made).to_contain_text("active")
    expect(made.get_by_role("list", name="Scopes")).to_have_text("jobsfleet")
    assert key not in page.content()
    assert call(keyed_api, "GET", "/v1/session", key=key)["scopes"] == ["jobs", "fleet"]
    [stored] = call(keyed_api, "GET", "/v1/tenants/local/keys")["keys"]
    ends = datetime.fromisoformat(stored["expires_at"]) - datetime.fromisoformat(stored["created_at"])
    assert timedelta(days=29) < ends < timedelta(days=31)


def test_a_key_without_scopes_is_refused_at_the_field(
    keys_page: Page, allowed_statuses: set[int], assert_accessible: Callable[[Page], None]
) -> None:
    allowed_statuses.add(422)
    page = keys_page
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog")
    form.get_by_label("jobs:").uncheck()
    form.get_by_label("loras:").uncheck()
    form.get_by_role("button", name="Make the key").click()
    expect(form.get_by_role("group", name="Scopes").locator(".field-error")).to_contain_text("at least 1")
    assert_accessible(page)


def test_a_rotated_key_gives_way_to_its_successor(
    page: Page, keyed_api: str, services: Services, screenshot: Screenshot
) -> None:
    old = make_key(keyed_api, name="bot")
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/keys")
    page.get_by_role("button", name="Rotate").click()
    form = page.get_by_role("dialog", name="Rotate key bot")
    form.get_by_label("The old key ends").select_option("at once")
    form.get_by_role("button", name="Make its successor").click()
    dialog, new = secret_in(page)
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row").filter(has_text="expired")).to_have_count(1)
    screenshot(page, "keys")
    assert (status_of(keyed_api, old), status_of(keyed_api, new)) == (401, 200)


def test_a_revoked_key_is_refused_and_the_audit_log_says_who_did_it(
    page: Page,
    keyed_api: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    key = make_key(keyed_api, name="bot")
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/keys")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row").filter(has_text="revoked")).to_have_count(1)
    assert_accessible(page)
    assert status_of(keyed_api, key) == 401
    page.get_by_role("link", name="Audit log").click()
    acts = page.get_by_role("table", name="What admins have done").get_by_role("row")
    expect(acts.nth(1)).to_contain_text("revoke key")
    expect(acts.filter(has_text="create key")).to_contain_text("name bot")
    assert_accessible(page)
    screenshot(page, "audit")


def test_without_authentication_keys_say_when_they_take_effect(
    page: Page, api_only: str, services: Services, screenshot: Screenshot
) -> None:
    page.goto(f"{api_only}/#/keys")
    expect(page.get_by_text("Authentication is off: everybody may do everything")).to_be_visible()
    expect(page.get_by_text("SWIFT_AUTH=keys")).to_be_visible()
    screenshot(page, "keys-auth-off")
