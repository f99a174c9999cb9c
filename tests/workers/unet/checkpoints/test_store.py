"""Without its server nothing is stored, which is said once and costs no job."""

import logging
from collections.abc import Callable

import pytest
from redis import Redis

from shared.settings import Settings
from tests.workers.unet.jobs import run
from tests.workers.unet.specs import spec
from workers.transport.keys import checkpoint_key
from workers.unet.checkpoints.store import CheckpointStore
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]


def test_a_server_that_is_away_is_reported_once(servers: Settings, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(Redis(port=1), servers)
    with caplog.at_level(logging.WARNING):
        assert not store.put("job", 1, b"frame")
        assert store.take("job", 2) is None
        store.end("job", 2)
    assert [record.message for record in caplog.records] == ["checkpoints are not stored"]


def test_checkpoints_expire(residual: Redis, servers: Settings) -> None:
    store = CheckpointStore(residual, servers.model_copy(update={"checkpoint_ttl_s": 7}))
    store.put("job", 1, b"frame")
    assert 0 < residual.ttl(checkpoint_key("job")) <= 7


def test_a_job_that_ends_leaves_no_checkpoint(make_worker: MakeWorker, residual: Redis) -> None:
    worker = make_worker(checkpoint_every_s=0.000_001)
    job = run(worker, spec(num_inference_steps=12))
    assert job.status == "succeeded"
    assert job.receipt is not None
    assert job.receipt.continued_at == []
    # Given the key, if one was written, all that is left of it says that nobody may write it again
    assert not residual.hexists(checkpoint_key(job.id), "frame")
