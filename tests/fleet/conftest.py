"""A whole fleet: two Redis, S3, API, Flower and workers as real processes, which several files share."""

import base64
import io
import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from infra.bench.harness.ports import stack_ports
from infra.local.s3_client import make_s3_client
from infra.local.stack import Stack, running_stack
from shared.settings import Settings
from tests.browser import allowed_statuses, assert_accessible, browser, page, screenshot  # noqa: F401
from tests.diffusers_peer import CONTROL
from tests.fleet.shared_fleets import SharedFleets
from tests.infra.local.waiting import pause
from tests.tiny_models import EMOJI, make_controlnet, make_pipeline, make_union

ENDED = ("succeeded", "failed", "cancelled")
ANSWER_S = 30.0
JOB_S = 120.0
#: A fleet takes half a minute to start, and more where other processes take the processors.
READY_S = 240.0

CATALOG = """
default_model = "emoji-sd"

[models.emoji-sd]
source = "{emoji}/model"
num_inference_steps = 6
guidance_scale = 3.0

[models.tiny]
source = "tiny"

[models.tiny-xl]
source = "tiny-xl"

[controlnets.edge]
source = "{emoji}/controlnets/edge"
model = "emoji-sd"

[controlnets.tiny-controlnet]
source = "tiny-controlnet"
model = "tiny"

[controlnets.xl-controlnet]
source = "xl-controlnet"
model = "tiny-xl"

[controlnets.xl-union]
source = "xl-union"
model = "tiny-xl"
"""


@dataclass(frozen=True)
class Client:
    """Uses the fleet as people do: REST and S3."""

    stack: Stack

    def post(self, body: Mapping[str, Any], **headers: str) -> requests.Response:
        return self._ask("POST", "/v1/jobs", json=body, headers={**self._key, **headers})

    def get(self, path: str) -> requests.Response:
        return self._ask("GET", path, headers=self._key)

    def cancel(self, job_id: str) -> requests.Response:
        return self._ask("POST", f"/v1/jobs/{job_id}/cancel", headers=self._key)

    def delete(self, path: str) -> requests.Response:
        return self._ask("DELETE", path, headers=self._key)

    def submit(self, **changes: Any) -> str:
        answer = self.post({"prompt": "a penguin on a teal background", "seed": 7, **changes})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/jobs/{job_id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        return job

    def wait(self, job_id: str, until: tuple[str, ...] = ENDED, within_s: float = JOB_S) -> dict[str, Any]:
        begun_at = time.monotonic()
        while (job := self.job(job_id))["status"] not in until:
            waited_s = time.monotonic() - begun_at
            assert waited_s < within_s, job
            pause(waited_s)
        return job

    def generate(self, **changes: Any) -> dict[str, Any]:
        job = self.wait(self.submit(**changes))
        assert job["status"] == "succeeded", job["error"]
        return job

    def pixels(self, job: Mapping[str, Any], index: int = 0) -> NDArray[np.int16]:
        answer = self.get(job["images"][index]["url"])
        answer.raise_for_status()
        return np.asarray(Image.open(io.BytesIO(answer.content)), dtype=np.int16)

    def events(self, job_id: str, after: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Id, kind and data of each server-sent event, to the closing one."""
        headers = {**self._key, **({"Last-Event-ID": after} if after else {})}
        url = f"{self.stack.api_url}/v1/jobs/{job_id}/events"
        with requests.get(url, headers=headers, stream=True, timeout=JOB_S) as answer:
            answer.raise_for_status()
            event: dict[str, str] = {}
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                field, _, value = line.partition(": ")
                event[field] = value
                if not line and "data" in event:
                    yield event["id"], event["event"], json.loads(event["data"])
                    event = {}

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.stack.api_url + path, timeout=ANSWER_S, **options)

    @property
    def _key(self) -> dict[str, str]:
        key = self.stack.api_key
        return {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def s3(self) -> Any:
        return make_s3_client(self.stack.env)

    def put_lora(self, name: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.stack.env["SWIFT_LORA_BUCKET"], Key=f"{name}.safetensors", Body=data)


def control_image(name: str = "edge", **changes: Any) -> dict[str, Any]:
    """A ControlNet of a request."""
    return {"name": name, "image": base64.b64encode(CONTROL.read_bytes()).decode(), **changes}


SHARED = SharedFleets[Client]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Stop what the next file does not use, once its fixtures are gone."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            SHARED.stop_unused(getattr(nextitem, "fixturenames", ()))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return SHARED.get("fleet", lambda: _main_fleet(tmp_path_factory.mktemp("fleet")))


@contextmanager
def _main_fleet(home: Path) -> Iterator[Client]:
    make_pipeline().save_pretrained(home / "tiny")
    make_controlnet(make_pipeline().unet).save_pretrained(home / "tiny-controlnet")
    large = make_pipeline("sdxl")
    large.save_pretrained(home / "tiny-xl")
    make_controlnet(large.unet).save_pretrained(home / "xl-controlnet")
    make_union(large.unet).save_pretrained(home / "xl-union")
    catalog = home / "catalog.toml"
    catalog.write_text(CATALOG.format(emoji=EMOJI.resolve()))
    with running_client(home / "run", catalog=catalog, unet_workers=1, controlnet_workers=2) as client:
        yield client


@contextmanager
def running_client(home: Path, **changes: object) -> Iterator[Client]:
    """A client of a fleet of its own, which lasts for the block; ``changes`` are settings."""
    settings = {
        "home": home,
        **stack_ports(),
        "lease_s": 3,
        "residual_timeout_s": 3,
        "residual_attempts": 20,
        "heartbeat_s": 0.5,
        "checkpoint_every_s": 0.05,
    }
    with running_stack(Settings.model_validate({**settings, **changes}), ready_s=READY_S) as stack:
        yield Client(stack)


@pytest.fixture(scope="module")
def loras(fleet: Client) -> dict[str, Path]:
    """The embedded LoRAs, put into the bucket with plain boto3; their files by name."""
    files = {path.name.removesuffix(".safetensors"): path for path in (EMOJI / "loras").glob("*.safetensors")}
    for name, path in files.items():
        fleet.put_lora(name, path.read_bytes())
    return files
