"""The console's queue, job and gallery over a whole fleet."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import Screenshot, drop_file
from tests.fleet.conftest import Client, control_image


def test_an_image_that_the_fleet_generated_verifies(
    page: Page, fleet: Client, screenshot: Screenshot
) -> None:
    job = fleet.generate(output_format="webp")
    image = fleet.get(job["images"][0]["url"]).content
    page.goto(f"{fleet.stack.api_url}/#/gallery")
    drop_file(page.get_by_role("button", name="Drop an image here"), "image", image)
    page.get_by_role("button", name="Generate it again and compare").click()
    expect(page.get_by_text("The file is the same, byte for byte.")).to_be_visible(timeout=60_000)
    screenshot(page, "fleet-verify")


def test_the_timeline_of_a_job_with_a_controlnet_and_a_lora_has_bars_for_each(
    page: Page, fleet: Client, loras: dict[str, Path], screenshot: Screenshot
) -> None:
    job = fleet.generate(
        controlnets=[control_image()], loras=[{"name": "twemoji"}], lora_loading={"mode": "exact"}
    )
    page.goto(f"{fleet.stack.api_url}/#/job/{job['id']}")
    expect(page.get_by_role("img", name="Generated image 1 of 1")).to_be_visible()
    expect(page.locator(".bar")).to_have_count(len(job["timeline"]))
    for name in ("controlnet edge on", "lora twemoji from", "encoder on", "decoder on", "vae on"):
        assert page.locator(f".bar[aria-label^='{name}']").count() > 0, name
    expect(page.locator(".chart-lanes")).to_contain_text("edge")
    expect(page.locator(".chart-lanes")).to_contain_text("lora twemoji")
    screenshot(page, "fleet-job")


def test_a_running_job_is_cancelled_from_the_queue(page: Page, fleet: Client) -> None:
    page.goto(f"{fleet.stack.api_url}/#/queue")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    job_id = fleet.submit(prompt="a job of the queue's test", num_inference_steps=200, num_images=4)
    row = page.get_by_role("row").filter(has_text="a job of the queue's test")
    expect(row).to_contain_text("running", timeout=60_000)
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0, timeout=30_000)
    assert fleet.wait(job_id)["status"] == "cancelled"
