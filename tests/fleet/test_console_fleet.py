"""The console's views of the fleet and of LoRAs, over real workers."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import Screenshot
from tests.fleet.conftest import Client


def test_a_lora_that_a_worker_has_used_is_shown_where_it_is_cached(
    page: Page,
    fleet: Client,
    loras: dict[str, Path],
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    name = sorted(loras)[0]
    fleet.generate(loras=[{"name": name}])
    worker = fleet.get("/v1/fleet").json()["lora_inventory"][0]
    page.goto(f"{fleet.stack.api_url}/#/loras")
    tags = page.get_by_role("list", name=f"Where {name} is cached").get_by_role("listitem")
    expect(tags).to_have_text(
        [
            f"in weights of {worker['worker']}",
            f"in memory of {worker['worker']}",
            f"on disk of {worker['host']}",
        ]
    )
    assert_accessible(page)
    screenshot(page, "loras-of-workers")
    page.get_by_role("navigation").get_by_role("link", name="Fleet").click()
    card = page.get_by_role("article", name=worker["worker"])
    expect(card).to_contain_text(f"{name} in weights")
    expect(card).to_contain_text("own jobs")  # of the last minute
    expect(page.get_by_role("table", name="Queues by model")).to_contain_text(f"{worker['worker']} loaded")
    assert_accessible(page)
    screenshot(page, "fleet-of-workers")
