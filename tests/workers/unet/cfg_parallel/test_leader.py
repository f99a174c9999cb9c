"""Which workers a leader accepts as followers, one after the other, within one job."""

import dataclasses
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from redis import Redis

from shared.jobs.receipt import Platform, WorkerReceipt
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from tests.workers.unet.cfg_parallel.conftest import MakeWorker, idle
from tests.workers.unet.controlnet_jobs import spec as controlnet_spec
from tests.workers.unet.specs import spec
from workers.families.base import BaseModel
from workers.transport.protocol import StepResponse, UsedControlNet
from workers.unet.attempt_context import AttemptContext
from workers.unet.cfg_parallel.channel import branch_channel
from workers.unet.cfg_parallel.leader import Leader
from workers.unet.cfg_parallel.messages import READY, BranchPrediction, BranchStep, FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.output.receipt import worker_receipt
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

X = torch.arange(4.0).reshape(1, 1, 2, 2)
#: Offers are repeated at once; no response is late because the machine is busy.
TIMINGS = CFGTimings(offer_every_s=0.05, first_wait_s=0.0, min_wait_s=30.0)
WAIT_S = 60.0


class Follower:
    """Plays a worker that has taken an offer."""

    def __init__(self, worker: UNetWorker, offer: FollowBranch, name: str) -> None:
        self.offer = offer
        self._channel = branch_channel(worker, offer)
        self._name = name
        assert self._channel.claim(name)

    def respond_ready(self, model_sha256: str, receipt: WorkerReceipt, configs_sha256: str = "") -> None:
        """Without ``configs_sha256`` as an older worker does."""
        self._respond(step=READY, model_sha256=model_sha256, receipt=receipt, configs_sha256=configs_sha256)

    def take_step(self) -> BranchStep:
        taken = self._channel.next_step(WAIT_S)
        assert taken is not None
        return taken[0]

    def predict(self, step: int, value: float, *used: UsedControlNet) -> None:
        """``used``: with what it has computed the job's first ControlNet."""
        controlnets = {0: list(used)} if used else {}
        prediction = BranchPrediction(step=step, worker=self._name, controlnets=controlnets)
        self._channel.respond(prediction, torch.full_like(X, value))

    def leave(self, *, is_preempted: bool = False) -> None:
        self._respond(step=READY, is_leaving=True, is_preempted=is_preempted)

    def _respond(self, **fields: object) -> None:
        self._channel.respond(BranchPrediction.model_validate({"worker": self._name, **fields}))


class Led:
    """The leader of an attempt, and its offers: the test plays the followers."""

    def __init__(
        self,
        worker: UNetWorker,
        model: BaseModel,
        timings: CFGTimings = TIMINGS,
        wanted: JobSpec | None = None,
    ) -> None:
        self._offers = queue.Queue[FollowBranch]()
        self.worker = dataclasses.replace(
            worker, cfg_timings=timings, send_follow=lambda offer, model, expires_s: self._offers.put(offer)
        )
        self.sha256, self.receipt = model.sha256, worker_receipt(model)
        self._step = -1
        wanted = wanted or spec(latent_parallelism="on")
        job_id, _ = worker.jobs.create(wanted, tenant=LOCAL)
        self.context = AttemptContext(
            worker=self.worker,
            model=model,
            spec=wanted,
            job_id=job_id,
            attempt="attempt",
            ordinal=1,
            role="leader",
            timeline=Timeline("unet1@test"),
            check=lambda: None,
            tenant=LOCAL,
        )
        self.leader = Leader(self.context, control_maps=[])

    def offer(self, after: Follower | None = None) -> FollowBranch:
        """The next offer; ``after`` a follower: of the search for another. Meanwhile steps go by."""
        deadline = time.monotonic() + WAIT_S
        while True:
            assert time.monotonic() < deadline, "no offer came"
            self.leader.has_follower()
            try:
                offer = self._offers.get(timeout=0.05)
            except queue.Empty:
                continue
            if after is None or offer.channel != after.offer.channel:
                return offer

    def follower(self, name: str, after: Follower | None = None) -> Follower:
        """A worker that takes the next offer, and gets ready."""
        follower = Follower(self.worker, self.offer(after), name)
        follower.respond_ready(self.sha256, self.receipt)
        return follower

    def request_from(self, follower: Follower) -> int:
        """Ask for the next step once the follower is accepted; returns the step."""
        deadline = time.monotonic() + WAIT_S
        while not self.leader.has_follower():
            assert time.monotonic() < deadline, "no follower was accepted"
        self._step += 1
        self.leader.request(self._step, 10, 1.0, X, []).result()
        assert follower.take_step().step == self._step
        return self._step

    def lose(self, follower: Follower, *, is_preempted: bool = False) -> None:
        """The follower leaves in the middle of a step."""
        self.request_from(follower)
        follower.leave(is_preempted=is_preempted)
        assert self.leader.take(X) is None


@contextmanager
def led(worker: UNetWorker, timings: CFGTimings = TIMINGS, wanted: JobSpec | None = None) -> Iterator[Led]:
    with worker.models.use("emoji-sd") as model:
        job = Led(worker, model, timings, wanted)
        with job.leader:
            yield job


@pytest.fixture
def three_are_idle(control: Redis) -> Iterator[None]:
    with idle(control, "unet2@test", "unet3@test", "unet4@test"):
        yield


def test_late_predictions_of_a_lost_follower_are_not_those_of_the_next(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker()) as job:
        first = job.follower("unet2@test")
        job.lose(first)
        second = job.follower("unet3@test", after=first)
        step = job.request_from(second)
        # Given a lost follower that goes on answering
        for late in range(step + 1):
            first.predict(late, 7.0)
        second.predict(step, 3.0)
        # Then the prediction is the second one's
        taken = job.leader.take(X)
        assert taken is not None
        assert torch.equal(taken, torch.full_like(X, 3.0))
        assert job.leader.receipt == job.receipt


@pytest.mark.parametrize(("is_preempted", "excluded"), [(True, []), (False, ["unet2@test"])])
def test_a_follower_that_was_preempted_may_return_and_one_that_failed_may_not(
    make_worker: MakeWorker, three_are_idle: None, is_preempted: bool, excluded: list[str]
) -> None:
    with led(make_worker()) as job:
        first = job.follower("unet2@test")
        job.lose(first, is_preempted=is_preempted)
        assert job.offer(after=first).excluded == excluded


def test_a_follower_that_does_not_answer_is_lost_and_excluded(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker(), dataclasses.replace(TIMINGS, wait_factor=1.0, min_wait_s=0.01)) as job:
        first = job.follower("unet2@test")
        job.request_from(first)
        assert job.leader.take(X) is None
        assert not job.leader.has_follower()
        assert job.offer(after=first).excluded == ["unet2@test"]


def test_workers_with_other_weights_are_offered_the_job_once_each(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker()) as job:
        other: Follower | None = None
        others = {"unet2@test": ("0" * 64, ""), "unet3@test": (job.sha256, "0" * 64)}
        for name, (weights, configs) in others.items():
            other = Follower(job.worker, job.offer(after=other), name)
            other.respond_ready(weights, job.receipt, configs)
        offer = job.offer(after=other)
        assert offer.excluded == ["unet2@test", "unet3@test"]
        assert not job.leader.has_follower()


def test_configs_of_other_versions_of_libraries_are_not_compared(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker()) as job:
        other = Follower(job.worker, job.offer(), "unet2@test")
        versions = {**job.receipt.versions, "transformers": "0.1.0"}
        other.respond_ready(job.sha256, job.receipt.model_copy(update={"versions": versions}), "0" * 64)
        assert job.leader.has_follower()


def test_a_later_follower_must_compute_with_what_the_first_one_did(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker()) as job:
        # Given a job of which a follower has predicted a step
        first = job.follower("unet2@test")
        first.predict(job.request_from(first), 1.0)
        assert job.leader.take(X) is not None
        job.lose(first, is_preempted=True)
        # When a worker is ready that computes with more threads
        second = Follower(job.worker, job.offer(after=first), "unet3@test")
        second.respond_ready(job.sha256, job.receipt.model_copy(update={"threads": 64}))
        # Then it is refused, and a worker of the first one's kind is not
        third = job.follower("unet2@test", after=second)
        assert third.offer.excluded == ["unet3@test"]
        job.request_from(third)
        assert job.leader.receipt == job.receipt


def test_a_follower_of_another_kind_is_accepted_after_one_that_predicted_nothing(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker()) as job:
        first = job.follower("unet2@test")
        job.lose(first)
        other = job.receipt.model_copy(update={"threads": 64})
        second = Follower(job.worker, job.offer(after=first), "unet3@test")
        second.respond_ready(job.sha256, other)
        second.predict(job.request_from(second), 1.0)
        assert job.leader.take(X) is not None
        assert job.leader.receipt == other


def used(sha256: str = "1" * 64, platform: Platform | None = None) -> UsedControlNet:
    return UsedControlNet(sha256=sha256, engine="eager", memory_format="contiguous", platform=platform)


def guided_by(*names: str) -> JobSpec:
    return spec(latent_parallelism="on", controlnets=[controlnet_spec(name) for name in names])


def compute_own_branch(job: Led, own: UsedControlNet) -> None:
    """The leader has computed its branch of a step with its first ControlNet."""
    job.context.used_controlnets.record(
        StepResponse(
            index=0, positions=[0], retry=0, start_s=0.0, end_s=0.0, worker="unet1@test", used={0: own}
        )
    )


def test_a_prediction_with_other_weights_of_a_controlnet_is_not_used(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker(), wanted=guided_by("edge")) as job:
        # Given workers that predict with other weights than the leader's own branch
        other: Follower | None = None
        for name in ("unet2@test", "unet3@test"):
            other = job.follower(name, after=other)
            step = job.request_from(other)
            compute_own_branch(job, used())
            other.predict(step, 7.0, used("2" * 64))
            assert job.leader.take(X) is None
        # Then each is left, and the receipt names neither; a worker with the same weights follows
        third = job.follower("unet4@test", after=other)
        assert third.offer.excluded == ["unet2@test", "unet3@test"]
        assert job.leader.receipt is None
        third.predict(job.request_from(third), 3.0, used())
        assert job.leader.take(X) is not None
        assert [one.sha256 for one in job.context.used_controlnets.receipts] == ["1" * 64]


def test_the_receipt_names_the_platforms_on_which_a_follower_had_its_controlnets_computed(
    make_worker: MakeWorker, three_are_idle: None
) -> None:
    with led(make_worker(), wanted=guided_by("edge")) as job:
        # Given a bounded job, and a follower of another platform
        receipt = job.receipt.model_copy(update={"threads": 64})
        follower = Follower(job.worker, job.offer(), "unet2@test")
        follower.respond_ready(job.sha256, receipt)
        step = job.request_from(follower)
        compute_own_branch(job, used())
        # When its ControlNet was computed on its own, on the leader's, and on a third platform
        here = job.worker.steps.platform
        third = here.model_copy(update={"threads": 128})
        follower.predict(step, 1.0, used(), used(platform=here), used(platform=third))
        assert job.leader.take(X) is not None
        # Then the receipt names those that are not the leader's
        [controlnet] = job.context.used_controlnets.receipts
        assert [one.threads for one in controlnet.other_platforms] == [64, 128]
