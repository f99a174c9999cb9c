"""The form of the view that submits jobs."""

from typing import Any

from playwright.sync_api import Locator, Page, expect


def submit(page: Page, prompt: str = "a red apple") -> tuple[Locator, dict[str, Any]]:
    """Submit the form; returns the card of the job, and what was sent."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    with page.expect_request(lambda sent: sent.method == "POST" and sent.url.endswith("/v1/jobs")) as sent:
        page.get_by_role("button", name="Generate", exact=True).click()
    card = page.locator("[data-job]").first
    expect(card).to_contain_text(prompt)
    return card, sent.value.post_data_json
