"""The fleet view: what workers do and hold, queues, advice."""

import time
from collections.abc import Callable

import requests
from playwright.sync_api import Page, expect

from api.services import Services
from shared import keys
from shared.registry.lora_inventory import LoraInventory, publish_disk_cache, publish_inventory
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from shared.storage.loras import version_of
from tests.api.services import heartbeat
from tests.browser import Screenshot

JOB = "4f0c8a1b2c3d4e5f"
ANIME = version_of("swift-loras", "anime", "1" * 32)
TTL_S = 300


def publish(services: Services, worker: Heartbeat, **changes: object) -> None:
    """A worker that has been alive for an hour."""
    changes = {"started_at": time.time() - 3700, "utilization": 0.0, **changes}
    publish_heartbeat(services.control, worker.model_copy(update=changes), TTL_S)


def publish_fleet(services: Services) -> None:
    """Three workers: one one has a job on a GPU, one computes its ControlNet, one is idle."""
    publish(
        services,
        heartbeat("unet-1", "unet", "emoji-sd", ["emoji-sd"]),
        host="gpu-host",
        device="cuda",
        gpu="NVIDIA H100 80GB HBM3",
        device_total_bytes=85_000_000_000,
        device_free_bytes=21_250_000_000,
        jobs=[JOB],
        served_controlnets=["edge", "colour"],
        loaded_controlnets=["edge"],
        activity="generate",
        activity_shares={"generate": 0.62, "follow": 0.0, "serve": 0.23, "idle": 0.15},
        utilization=0.85,
        received_residuals={"controlnet-1": {"shared_memory": 120}},
        controlnet_steps={"edge": {"served": 20, "requester": 80}},
    )
    publish(
        services,
        heartbeat("controlnet-1", "controlnet", "edge", ["edge"]),
        attached_jobs={"edge": [JOB]},
        activity="serve",
        activity_shares={"generate": 0.0, "follow": 0.0, "serve": 0.4, "idle": 0.6},
        utilization=0.4,
        warnings=["shared memory is too small: residuals travel over Redis"],
    )
    publish(
        services,
        heartbeat("unet-2", "unet", "emoji-sd", []),
        activity="idle",
        activity_shares={"generate": 0.0, "follow": 0.0, "serve": 0.0, "idle": 1.0},
        served_controlnets=["edge"],
        controlnet_load_errors={"edge": "config.json is missing"},
    )
    held = LoraInventory(
        worker="unet-1",
        host="gpu-host",
        serves=["emoji-sd"],
        loaded=["emoji-sd"],
        patched=[f"emoji-sd@{ANIME}"],
        memory=[f"emoji-sd@{ANIME}", f"emoji-sd@{version_of('swift-loras', 'paper', '2' * 32)}"],
    )
    publish_inventory(services.control, held, TTL_S)
    publish_disk_cache(services.control, "gpu-host", [ANIME], TTL_S)


def test_each_worker_shows_what_it_does_and_holds(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    publish_fleet(services)
    page.goto(f"{api_only}/#/fleet")
    unet = page.get_by_role("article", name="unet-1")
    for text in (
        "generates",
        "UNet worker on gpu-host · NVIDIA H100 80GB HBM3",
        "62 % own jobs",
        "23 % ControlNets of others",
        "emoji-sd loaded",
        "edge loaded",
        "anime in weights",
        "paper in memory",
        "63.8 GB of 85.0 GB used, 21.3 GB free",
        "120 from controlnet-1",
    ):
        expect(unet).to_contain_text(text)
    expect(unet.get_by_role("link", name=JOB)).to_have_attribute("href", f"#/job/{JOB}")
    serving = page.get_by_role("article", name="controlnet-1")
    expect(serving).to_contain_text(f"{JOB} computes edge")
    expect(serving).to_contain_text("shared memory is too small")
    expect(page.get_by_role("article", name="unet-2")).to_contain_text(
        "could not load edge: config.json is missing"
    )
    # Then one that stops disappears by itself
    assert_accessible(page)
    screenshot(page, "fleet")
    remove_worker(services.control, "unet-2")
    expect(page.get_by_role("article", name="unet-2")).to_have_count(0)


def test_advice_says_what_nobody_serves_and_what_is_short_or_idle(
    page: Page, api_only: str, services: Services
) -> None:
    publish_fleet(services)
    page.goto(f"{api_only}/#/fleet")
    advice = page.get_by_role("region", name="Advice")
    expect(advice.get_by_role("listitem")).to_contain_text(
        [
            "ControlNet 'edge' is short of devices: 80% of its steps",
            "UNet worker unet-2 was idle for 100% of the last minute",
        ]
    )
    services.control.flushdb()
    publish(services, heartbeat("unet-1", "unet", "emoji-sd", []))
    expect(advice).to_contain_text("No worker may load ControlNet 'edge': its jobs fail.")


def test_a_fleet_without_workers_says_what_to_do(
    page: Page,
    api_only: str,
    services: Services,
    assert_accessible: Callable[[Page], None],
    screenshot: Screenshot,
) -> None:
    page.goto(f"{api_only}/#/fleet")
    expect(page.get_by_text("No worker is alive")).to_be_visible()
    expect(page.get_by_text("celery -A workers.unet.app worker")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "fleet-empty")


def test_a_chart_that_could_not_be_loaded_says_so(
    page: Page, api_only: str, services: Services, allowed_statuses: set[int]
) -> None:
    allowed_statuses.add(503)
    page.route("**/console/chart.js*", lambda route: route.fulfill(status=503))
    page.goto(f"{api_only}/#/fleet")
    expect(page.get_by_text("The chart could not be loaded")).to_be_visible()


def test_jobs_and_steps_that_wait_are_counted_by_model_and_controlnet(
    page: Page, api_only: str, services: Services
) -> None:
    page.goto(f"{api_only}/#/fleet")
    chart = page.get_by_role("img", name="The last minutes: 0 jobs waiting now")
    expect(chart.locator("canvas")).to_be_visible()
    for _ in range(3):
        requests.post(f"{api_only}/v1/jobs", json={"prompt": "a cat"}, timeout=30).raise_for_status()
    services.residuals[0].rpush(keys.controlnet_steps("edge"), "a ticket", "another")
    try:
        models = page.get_by_role("table", name="Queues by model")
        expect(models.get_by_role("row", name="emoji-sd").get_by_role("cell").first).to_have_text("3")
        controlnets = page.get_by_role("table", name="Queues by ControlNet")
        expect(controlnets.get_by_role("row", name="edge").get_by_role("cell").first).to_have_text("2")
    finally:
        services.residuals[0].delete(keys.controlnet_steps("edge"))
    expect(page.get_by_role("img", name="The last minutes: 3 jobs waiting now, 3 at most")).to_be_visible()
