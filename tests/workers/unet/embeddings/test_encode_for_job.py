"""A worker without text encoders, and an idle one that encodes a prompt for it."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from shared.catalog.entries import ModelEntry
from shared.keys import LOCAL
from shared.messaging.celery_app import encode_queue, make_celery
from shared.metrics import EMBEDDING_LOOKUPS
from shared.registry.availability import Availability
from shared.registry.workers import remove_worker
from shared.settings import ROOT, Settings
from tests.infra.local.waiting import eventually
from tests.tiny_models import EMOJI
from tests.workers.lora.cache.buckets import counted
from tests.workers.unet.embeddings.apart import Apart
from tests.workers.unet.embeddings.conftest import HELPER
from tests.workers.unet.jobs import pixels, run, upload
from tests.workers.unet.specs import spec
from workers.transport.keys import encoding_responses_key
from workers.unet.embeddings.encode_for_job import encode_for_job
from workers.unet.embeddings.encoding_requests import EncodingRequests, send_encode
from workers.unet.embeddings.messages import TAKEN, EncodePrompt
from workers.unet.embeddings.prompt_encoder import PromptEncoder
from workers.unet.embeddings.shared_embeddings import SharedEmbeddings
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
Send = Callable[[EncodePrompt], bool]


class Asking:
    """A worker whose text encoders are apart, and which sends its requests by ``send``."""

    def __init__(self, worker: UNetWorker, send: Send, take_s: float = 60.0) -> None:
        self.apart = Apart(
            Path("infra/catalog.toml").resolve(), {"emoji-sd": ModelEntry(source="emoji/model")}
        )
        shared = SharedEmbeddings(worker.residual, worker.settings)
        self.sent: list[EncodePrompt] = []

        def note_and_send(message: EncodePrompt, model: str, expires_s: float) -> bool:
            self.sent.append(message)
            return send(message)

        self.worker = dataclasses.replace(
            worker,
            models=self.apart.models,
            prompts=PromptEncoder(shared, self.apart.text_encoders),
            encoding_requests=EncodingRequests(
                worker.jobs.redis, worker.live_workers, worker.residual, note_and_send, take_s
            ),
        )


class Helping:
    """Encodes what it is asked for, in a thread of its own."""

    def __init__(self, worker: UNetWorker) -> None:
        with worker.models.use("emoji-sd"):
            self._worker = worker  # which has the model loaded
        self.outcomes: list[str] = []
        self._threads: list[threading.Thread] = []

    def send(self, message: EncodePrompt) -> bool:
        self._threads.append(threading.Thread(target=self._encode, args=[message]))
        self._threads[-1].start()
        return True

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join()
        return self.outcomes

    def _encode(self, message: EncodePrompt) -> None:
        self.outcomes.append(encode_for_job(self._worker, message))


def lookups(tier: str) -> float:
    return counted(EMBEDDING_LOOKUPS).get(tier, 0.0)


def test_an_idle_worker_encodes_for_one_without_text_encoders(
    make_worker: MakeWorker, helper_is_idle: None
) -> None:
    helper = make_worker()
    helping = Helping(helper)
    asking = Asking(make_worker(), helping.send)
    before = lookups("asked")
    job = run(asking.worker, spec(num_inference_steps=2, prompt="asked for"))
    assert helping.join() == ["encoded"]
    # Then nothing was loaded for it, and the image is as if it were encoded there
    assert asking.apart.loads == []
    assert lookups("asked") == before + 1
    alone = dataclasses.replace(helper, prompts=PromptEncoder())
    wanted = spec(num_inference_steps=2, prompt="asked for")
    assert np.array_equal(pixels(asking.worker, job), pixels(alone, run(alone, wanted)))


def test_a_helper_takes_loras_of_its_last_job_back_first(
    make_worker: MakeWorker, helper_is_idle: None, pristine: None
) -> None:
    helper = make_worker()
    wanted = spec(num_inference_steps=2, prompt="without a LoRA")
    alone = dataclasses.replace(helper, prompts=PromptEncoder())
    image = pixels(alone, run(alone, wanted))
    lora = upload(helper, EMOJI / "loras" / "outline.safetensors")
    run(helper, spec(num_inference_steps=2, loras=[lora]))
    helping = Helping(helper)
    asking = Asking(make_worker(), helping.send)
    assert np.array_equal(pixels(asking.worker, run(asking.worker, wanted)), image)
    assert helping.join() == ["encoded"]


def test_a_request_that_nobody_takes_loads_the_text_encoders(
    make_worker: MakeWorker, helper_is_idle: None
) -> None:
    asking = Asking(make_worker(), lambda message: True, take_s=0.01)
    assert run(asking.worker, spec(num_inference_steps=2, prompt="not taken")).status == "succeeded"
    assert (len(asking.sent), asking.apart.loads) == (1, ["text_encoder of emoji-sd"])


def test_a_helper_that_dies_costs_no_more_than_a_load(make_worker: MakeWorker, helper_is_idle: None) -> None:
    worker = make_worker()

    def take_and_die(message: EncodePrompt) -> bool:
        worker.residual.rpush(encoding_responses_key(message.responses), TAKEN)
        return True

    asking = Asking(worker, take_and_die)
    assert run(asking.worker, spec(num_inference_steps=2, prompt="taken")).status == "succeeded"
    assert asking.apart.loads == ["text_encoder of emoji-sd"]


def test_nobody_is_asked_while_nobody_is_idle_or_text_encoders_are_loaded(
    make_worker: MakeWorker, control: Redis
) -> None:
    remove_worker(control, HELPER)
    asking = Asking(make_worker(), lambda message: True)
    for prompt in ("one", "two"):
        run(asking.worker, spec(num_inference_steps=2, prompt=f"{prompt}, and nobody is idle"))
    assert (asking.sent, asking.apart.loads) == ([], ["text_encoder of emoji-sd"])


def test_a_job_with_loras_asks_nobody(make_worker: MakeWorker, helper_is_idle: None) -> None:
    asking = Asking(make_worker(), lambda message: True)
    lora = upload(asking.worker, EMOJI / "loras" / "twemoji.safetensors")
    run(asking.worker, spec(num_inference_steps=2, loras=[lora], prompt="with a LoRA"))
    assert asking.sent == []


@pytest.mark.parametrize("problem", ["would compute other bits", "not loaded", "attempt over", "has LoRAs"])
def test_a_helper_refuses_at_once_what_it_cannot_encode(make_worker: MakeWorker, problem: str) -> None:
    worker = make_worker()
    lora = upload(worker, EMOJI / "loras" / "twemoji.safetensors")
    job_id, _ = worker.jobs.create(spec(loras=[lora] if problem == "has LoRAs" else []), tenant=LOCAL)
    attempt = worker.jobs.claim(job_id, "unet1@test")
    assert attempt is not None
    if problem == "not loaded":
        worker = Asking(worker, lambda message: True).worker
    else:
        with worker.models.use("emoji-sd"):
            pass
    token = "another" if problem == "attempt over" else attempt.token
    message = EncodePrompt(job_id=job_id, attempt=token, key="0" * 64, responses="responses")
    assert encode_for_job(worker, message) == problem
    assert worker.residual.lrange(encoding_responses_key("responses"), 0, -1) == [b"refused"]


def test_a_worker_process_takes_requests_from_its_queue(
    make_worker: MakeWorker, servers: Settings, tmp_path: Path
) -> None:
    # Given a real worker with text encoders, and a database without jobs that other tests have left
    worker = make_worker(redis_url=servers.redis_url.removesuffix("/0") + "/1")
    worker.jobs.redis.flushdb()
    settings, log = worker.settings, tmp_path / "helper.log"
    environment = {
        **os.environ,
        "SWIFT_HOME": str(tmp_path),
        "SWIFT_REDIS_URL": settings.redis_url,
        "SWIFT_RESIDUAL_REDIS_URL": ",".join(settings.residual_redis_url),
        "SWIFT_S3_PORT": str(settings.s3_port),
        "SWIFT_WORKER_MODELS": "emoji-sd",
        "SWIFT_HEARTBEAT_S": "0.2",
    }
    queue = encode_queue("emoji-sd")
    options = ["-n", "helper@test", "--pool=threads", "-Q", queue]
    command = [sys.executable, "-m", "celery", "-A", "workers.unet.app", "worker", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    def is_free() -> bool:
        assert process.poll() is None, log.read_text()
        return "helper@test" in Availability(worker.jobs.redis).free_workers()

    try:
        eventually(is_free, 90)
        # When a worker without text encoders runs a job
        send = partial(send_encode, make_celery(settings), worker.jobs.redis)
        asking = Asking(worker, lambda message: send(message, "emoji-sd", 60))
        assert run(asking.worker, spec(num_inference_steps=2, prompt="by a process")).status == "succeeded"
        # Then it has loaded none
        assert asking.apart.loads == [], log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)
