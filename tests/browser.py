"""Fixtures of tests in a browser: Debian's Chromium, driven by Playwright. ``CHROMIUM`` names another one.

A ``conftest.py`` imports those that its tests use.
"""

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from shared.settings import ROOT

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
#: Of a machine that runs other tests meanwhile.
TIMEOUT_MS = 60_000
SCREENSHOTS = ROOT / ".run" / "console"
#: What a browser says of an answer that is an error.
_STATUS = re.compile(r"Failed to load resource: .* status of (\d+)")

Screenshot = Callable[[Page, str], None]


def find_chromium() -> str | None:
    """The browser to test with."""
    given = os.environ.get("CHROMIUM")
    return given or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")  # not session: while Playwright runs, nothing else may run an event loop
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is missing: apt-get install chromium, or name one in CHROMIUM")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def allowed_statuses() -> set[int]:
    """Statuses of errors that a test expects of the API: a browser reports each as an error of the page."""
    return set()


@pytest.fixture
def page(browser: Browser, allowed_statuses: set[int]) -> Iterator[Page]:
    """A new page; its test fails if the page reports an error, or asks another host for anything."""
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", locale="en-GB")  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        status = _STATUS.match(message.text)
        is_expected = status is not None and int(status[1]) in allowed_statuses
        is_missing_preview = status is not None and "/preview" in message.location["url"]
        if message.type == "error" and not is_expected and not is_missing_preview:
            problems.append(f"{message.text} ({message.location['url']})")

    def on_request(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname not in ("127.0.0.1", "localhost"):
            problems.append(f"a request left the host: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: problems.append(f"{error.message}\n{error.stack}"))
    context.on("request", on_request)
    yield page
    context.close()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def assert_accessible() -> Callable[..., None]:
    """Asserts that axe finds nothing in the page as it is now, in light, and its colours in dark.

    ``but`` selects what it is not to look at: of hundreds of rows that are alike, all but some.
    """
    axe = Axe()
    colours = {"runOnly": ["color-contrast", "link-in-text-block"]}
    schemes: dict[Any, dict[str, list[str]]] = {"light": {}, "dark": colours}

    def check(page: Page, *, but: str | None = None) -> None:
        context = None if but is None else {"exclude": [[but]]}
        for scheme, options in schemes.items():
            page.emulate_media(color_scheme=scheme)
            results = axe.run(page, context, {"resultTypes": ["violations"], **options})
            assert results.violations_count == 0, f"{scheme}: {results.generate_report()}"
        page.emulate_media(color_scheme="light")

    return check


@pytest.fixture(scope="session")
def screenshot() -> Screenshot:
    """Asserts that a page does not scroll sideways, wide or narrow.

    With the variable ``SCREENSHOTS`` it also writes what the page looks like, in light and dark, into
    ``.run/console``: four files that take a second.
    """

    is_written = bool(os.environ.get("SCREENSHOTS"))

    def write(page: Page, name: str, width: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.screenshot(path=SCREENSHOTS / f"{name}{width}-{scheme}.png", full_page=bool(width))
        page.emulate_media(color_scheme="light")

    def look(page: Page, name: str) -> None:
        for width, size in (("", DESKTOP), ("-narrow", NARROW)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            if is_written:
                write(page, name, width)
            hidden = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert hidden <= 0, f"{name}{width} scrolls sideways by {hidden} px"
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]

    return look


def hold_timers(page: Page) -> None:
    """Have what is opened next run no timer and no frame: it has to be usable as soon as it is shown."""
    page.clock.install(time=0)
    page.clock.pause_at(1)


def drop_file(target: Locator, name: str, data: bytes, mimetype: str = "image/png") -> None:
    """Drop a file onto an element, as somebody drags it there from a folder."""
    make = """([name, text, type]) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, {type}));
        return transfer;
    }"""
    transfer = target.page.evaluate_handle(make, [name, base64.b64encode(data).decode(), mimetype])
    for event in ("dragenter", "dragover", "drop"):
        target.dispatch_event(event, {"dataTransfer": transfer})
