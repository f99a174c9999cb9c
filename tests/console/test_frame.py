"""What all views have in common: navigation, login, theme, shortcuts."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from playwright.sync_api import Page, Route, expect

from api.services import Services
from shared.settings import Settings
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY
from tests.api.gunicorn_server import environment, serving
from tests.api.services import announce_workers
from tests.api.tenants import add_tenant
from tests.browser import Screenshot, hold_timers
from tests.console.logins import log_in, make_key
from tests.console.prefix_proxy import prefix_proxy

VIEWS = {
    "generate": "Generate",
    "gallery": "Gallery",
    "queue": "Queue",
    "fleet": "Fleet",
    "loras": "LoRAs",
    "webhooks": "Webhooks",
    "tenants": "Tenants",
    "keys": "API keys",
}

#: Timers of a second and more never run.
NOTHING_AFTER_A_WHILE = """
    const after = window.setTimeout;
    window.setTimeout = (run, ms, ...rest) => (ms >= 1000 ? 0 : after(run, ms, ...rest));
"""


def test_every_view_is_reached_by_its_link(
    page: Page, api_only: str, services: Services, assert_accessible: Callable[[Page], None]
) -> None:
    page.goto(api_only)
    for name, title in VIEWS.items():
        page.get_by_role("navigation").get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
        assert page.url == f"{api_only}/#/{name}"
        expect(page.locator("h1")).to_have_count(1)
        assert_accessible(page)


def test_a_key_is_asked_for_where_the_api_asks_for_one(
    page: Page,
    keyed_api: str,
    services: Services,
    allowed_statuses: set[int],
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    allowed_statuses.add(401)
    page.goto(f"{keyed_api}/#/fleet")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(UNKNOWN_KEY)
    field.press("Enter")
    expect(page.get_by_text("there is no such API key")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "login")
    field.fill(BOOTSTRAP_KEY)
    field.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Fleet")).to_be_visible()  # where the user was
    # When the page is loaded again, the session's cookie is enough
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Fleet")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize("way", ["logged out", "another tenant"])
def test_the_next_user_of_a_tab_sees_nothing_of_the_last_one(
    way: str, page: Page, keyed_api: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(401)
    announce_workers(services)
    log_in(page, keyed_api)
    page.goto(f"{keyed_api}/#/generate")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a secret")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("[data-job]")).to_have_count(1)
    key = BOOTSTRAP_KEY
    if way == "logged out":
        page.get_by_role("button", name="Log out").click()
    else:
        add_tenant(services, "acme")
        key = make_key(keyed_api, "acme", scopes=["jobs"])
        page.context.clear_cookies()
        page.goto(
            f"{keyed_api}/#/gallery"
        )  # not by its link: the next poll may take the page to the login first
    field = page.get_by_label("API key")
    field.fill(key)
    field.press("Enter")
    page.get_by_role("link", name="Generate", exact=True).click()
    expect(prompt).to_have_value("")
    expect(page.get_by_text("Nothing submitted yet")).to_be_visible()
    assert "a secret" not in page.content()


@pytest.fixture(scope="module")
def api_under_prefix(servers: Settings) -> Iterator[str]:
    """The address of an API that asks for keys, behind a proxy that serves it under ``/sd``."""
    changes = {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": BOOTSTRAP_KEY, "SWIFT_TRUSTED_PROXIES": "1"}
    with serving({**environment(servers), **changes}) as (port, _), prefix_proxy("/sd", port) as address:
        yield address


def test_the_page_works_under_a_prefix_that_a_proxy_cuts_off(
    page: Page, api_under_prefix: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(401)
    page.goto(f"{api_under_prefix}/#/fleet")
    # Given a login, whose cookie is sent to nothing else on that host
    field = page.get_by_label("API key")
    field.fill(BOOTSTRAP_KEY)
    field.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Fleet")).to_be_visible()
    assert [cookie.get("path") for cookie in page.context.cookies()] == ["/sd"]
    # Then the event stream, and what a view loads when it is shown, are found
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="The last minutes: ").locator("canvas")).to_be_visible()
    # And logging out, a change, takes the cookie back
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []


def test_without_authentication_nobody_is_asked(page: Page, api_only: str, services: Services) -> None:
    page.goto(api_only)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_have_count(0)


def test_a_theme_is_kept(page: Page, api_only: str, services: Services) -> None:
    page.goto(api_only)
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.get_by_text("dark", exact=True).click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate(background) == dark


def test_shortcuts_go_to_views_and_are_listed(page: Page, api_only: str, services: Services) -> None:
    hold_timers(page)  # no key comes too early
    page.goto(api_only)
    expect(page.get_by_role("heading", level=1, name="Generate")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("q")
    heading = page.get_by_role("heading", level=1, name="Queue")
    expect(heading).to_be_focused()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(heading).to_be_focused()


@pytest.mark.parametrize("hash", ["", "#/nothing", "#/job/%zz"])
def test_an_address_that_means_nothing_shows_a_view(
    hash: str, page: Page, api_only: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(404)
    page.goto(f"{api_only}/{hash}")
    expect(page.locator("h1")).to_have_count(1)


def test_narrow_screens_have_a_menu(page: Page, api_only: str, services: Services) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    hold_timers(page)  # no click comes too early
    page.goto(api_only)
    link = page.get_by_role("link", name="Gallery", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    link.click()
    expect(page.get_by_role("heading", level=1, name="Gallery")).to_be_visible()
    expect(link).to_be_hidden()


def test_a_connection_that_is_lost_is_shown(page: Page, api_only: str, services: Services) -> None:
    is_refused = refuse_events(page)
    open_refused(page, api_only)
    is_refused.clear()
    expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=20_000)  # it tries again after a while


def test_a_stream_that_was_refused_is_opened_again_after_the_page_was_hidden(
    page: Page, api_only: str, services: Services
) -> None:
    page.add_init_script(NOTHING_AFTER_A_WHILE)
    is_refused = refuse_events(page)
    open_refused(page, api_only)
    is_refused.clear()
    page.evaluate("""() => {
        for (const hidden of [true, false]) {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }
    }""")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def refuse_events(page: Page) -> Event:
    """Refuse the page's streams of events while the returned event is set, as it is at first.

    A route that is removed while it has a request leaves that one without an answer.
    """
    is_refused = Event()
    is_refused.set()

    def answer(route: Route) -> None:
        if is_refused.is_set():
            route.fulfill(status=204)
        else:
            route.continue_()

    page.route("**/v1/events", answer)
    return is_refused


def open_refused(page: Page, url: str) -> None:
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/v1/events")):
        page.goto(url)
    expect(page.get_by_text("Connection lost")).to_be_visible()
