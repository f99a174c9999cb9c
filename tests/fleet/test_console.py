"""The console over a whole fleet: what only real workers show."""

import json
import time
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from infra.emoji_files import CONTROL
from tests.browser import SCREENSHOTS, Screenshot, drop_file
from tests.fleet.conftest import JOB_S, Client
from tests.infra.local.waiting import eventually

MS = 1000 * JOB_S


def submit(page: Page, prompt: str, steps: int) -> Locator:
    """Submit the form; returns the card of the job."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Steps", exact=True).fill(str(steps))
    page.get_by_role("button", name="Generate", exact=True).click()
    card = page.locator("[data-job]").first
    expect(card).to_contain_text(prompt)
    return card


def test_a_job_with_a_dropped_image_and_a_lora_is_watched_to_its_end(
    page: Page, fleet: Client, loras: dict[str, Path], screenshot: Screenshot
) -> None:
    times = {}
    began = time.monotonic()
    page.goto(fleet.stack.api_url)
    expect(page.get_by_label("Prompt", exact=True)).to_be_editable()
    times["interactive"] = time.monotonic() - began
    page.get_by_role("button", name="Add LoRA twemoji").click()
    page.get_by_label("twemoji, as a number").fill("0.6")
    drop_file(page.get_by_role("button", name="Add a control image"), "car.png", CONTROL.read_bytes())
    for label, value in (("Images", "4"), ("Seed", "7")):
        page.get_by_label(label, exact=True).fill(value)
    began = time.monotonic()
    card = submit(page, "a red car on a green background", steps=30)
    preview = card.get_by_role("img", name="Preview after step")
    expect(preview).to_be_visible(timeout=MS)
    times["first preview"] = time.monotonic() - began
    first = preview.get_attribute("src") or ""
    expect(card.get_by_role("progressbar")).to_be_visible()
    expect(preview).not_to_have_attribute("src", first, timeout=MS)
    screenshot(page, "fleet-generate-running")
    # Then the image is shown, which is the job's
    image = card.get_by_role("img", name="Image 4 of 4")
    expect(image).to_be_visible(timeout=MS)
    job = fleet.job(card.get_attribute("data-job") or "")
    assert job["status"] == "succeeded"
    assert [lora["name"] for lora in job["request"]["loras"]] == ["twemoji"]
    assert [controlnet["name"] for controlnet in job["request"]["controlnets"]] == ["edge"]
    expect(image).not_to_have_js_property("naturalWidth", 0)
    screenshot(page, "fleet-generate")
    card.get_by_role("link", name="Details").click()
    expect(page.get_by_role("heading", level=1, name="Job")).to_be_visible()
    eventually(lambda: page.evaluate("[...document.images].every((image) => image.complete)"))
    screenshot(page, "fleet-job")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / "times.json").write_text(json.dumps({what: round(s, 2) for what, s in times.items()}))


def test_a_running_job_is_cancelled_in_the_page(page: Page, fleet: Client) -> None:
    page.goto(fleet.stack.api_url)
    card = submit(page, "a job that takes long", steps=200)
    expect(card.get_by_role("progressbar")).to_be_visible(timeout=MS)
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("cancelled", exact=True)).to_be_visible(timeout=MS)
    assert fleet.wait(card.get_attribute("data-job") or "")["status"] == "cancelled"
