"""The channel between the two workers of a split job."""

import pytest
import torch
from redis import Redis

from shared.keys import TRANSPORT
from shared.redis_clients import residual_servers
from shared.settings import Settings
from tests.proxy import proxied
from workers.transport.keys import cfg_claim_key, cfg_predictions_key, cfg_steps_key
from workers.transport.wire import pack, pack_bytes
from workers.unet.cfg_parallel.channel import BranchChannel
from workers.unet.cfg_parallel.messages import BranchPrediction, BranchStep, FollowBranch

OFFER = FollowBranch(job_id="0" * 16, attempt="attempt", ordinal=1, channel="channel", control_maps=[])
STEP = BranchStep(step=3, total=4, t=1.0, loras=[])
PREDICTION = BranchPrediction(step=3, worker="unet2@test")
X = torch.arange(4.0)


@pytest.mark.parametrize("garbage", [b"garbage", pack_bytes({}), pack({**STEP.model_dump(), "step": "x"}, X)])
def test_malformed_steps_and_predictions_are_dropped(residual: Redis, garbage: bytes) -> None:
    channel = BranchChannel(residual, OFFER, 60)
    for name in (cfg_steps_key, cfg_predictions_key):
        key = name(OFFER.job_id, OFFER.attempt, OFFER.channel)
        residual.delete(key)
        residual.rpush(key, garbage)
    channel.send_step(STEP, X)
    channel.respond(PREDICTION, X)
    assert (channel.next_step(1), channel.receive(1)) == (None, None)
    step, received = channel.next_step(1), channel.receive(1)
    assert step is not None
    assert received is not None
    assert (step[0], received[0]) == (STEP, PREDICTION)


def test_the_channels_keys_carry_the_version_of_the_transport() -> None:
    for key in (cfg_claim_key, cfg_steps_key, cfg_predictions_key):
        assert key("job", "attempt", "channel").startswith(f"{TRANSPORT}:cfg_")


def test_what_an_earlier_follower_sends_and_claims_is_in_no_later_channel(residual: Redis) -> None:
    first, second = (
        BranchChannel(residual, OFFER.model_copy(update={"channel": name}), 60) for name in ("one", "two")
    )
    assert first.claim("unet2@test")
    first.respond(PREDICTION, X)
    first.release()
    assert not second.is_claimed()
    assert (second.receive(0), second.next_step(0)) == (None, None)
    assert second.claim("unet3@test")


def test_a_follower_whose_claim_has_lost_its_reply_follows(residual: Redis, servers: Settings) -> None:
    offer = OFFER.model_copy(update={"channel": "lost reply"})
    near = BranchChannel(residual, offer, 60)
    with proxied(servers.residual_redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        [redis] = residual_servers(servers.model_copy(update={"residual_redis_url": (url,)}))
        channel = BranchChannel(redis, offer, 60)
        assert not channel.is_claimed()
        # When the connection breaks once the server has made the claim
        proxy.cuts = 1
        assert channel.claim("unet2@test")
        assert proxy.cuts == 0
        # Then no other call claims it, of this worker or another
        assert [near.claim(name) for name in ("unet2@test", "unet3@test")] == [False, False]
