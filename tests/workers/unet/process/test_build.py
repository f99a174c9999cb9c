"""What a worker is built of, by its settings and its memory."""

from celery import Celery

from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.workers.unet.specs import spec
from workers.unet.process.build import build_worker
from workers.unet.worker import UNetWorker

MODEL = "emoji-sd"


def build(servers: Settings, **changes: object) -> UNetWorker:
    settings = servers.model_copy(update=changes)
    return build_worker(settings, read_catalog(settings.catalog, settings), [MODEL], [], Celery())


def test_text_encoders_are_loaded_with_their_model_where_both_fit(servers: Settings) -> None:
    worker = build(servers)
    with worker.models.use(MODEL) as model:
        assert model.has_text_encoders
        whole_bytes = model.weight_bytes
    # When the memory is too small for both, or the setting says so
    small, apart = build(servers), build(servers, text_encoders="apart")
    small.models.memory.models.capacity_bytes = int(0.99 * whole_bytes)
    for worker, prompt in ((small, "one"), (apart, "another")):
        with worker.models.use(MODEL) as model:
            assert not model.has_text_encoders
            assert model.weight_bytes + model.apart_bytes == whole_bytes
            # Then a prompt is encoded all the same
            job = spec(prompt=f"{prompt} prompt of this test")
            assert worker.prompts.encode_prompt(model, job, worker.device).tensors
    assert small.models.memory.models.used_bytes() < whole_bytes
    assert apart.models.memory.models.used_bytes() == whole_bytes
