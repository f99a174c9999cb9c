"""Starts and stops what a UNet worker runs in addition to its jobs: heartbeat, recovery, sweep."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from shared.catalog.entries import Catalog
from shared.catalog.step_bytes import largest_step_bytes_of_models
from shared.errors import WorkerStopping
from shared.messaging.celery_app import (
    attach_queue,
    default_exchange_queue,
    encode_queue,
    follow_queue,
    unet_queue,
    worker_queue,
)
from shared.messaging.messages import AttachControlNet
from shared.metrics import LORA_CACHE_BYTES
from shared.registry.controlnet_servers import ServerRegistration
from shared.registry.workers import Heartbeat
from shared.storage.image_bucket import ImageBucket
from shared.storage.object_store import Bucket
from workers.families.engine_memory import describe_engines
from workers.model_checks.source import check_model_entry
from workers.model_checks.stored_dtype import widened_from
from workers.runtime import device_loss
from workers.runtime.budgets.memory_budget import budget_bytes
from workers.runtime.celery_worker.consumer_check import ConsumerCheck
from workers.runtime.celery_worker.control import WorkerControl
from workers.runtime.heartbeat import GRACE_BEATS, ControlNetReport, HeartbeatThread, describe_worker
from workers.runtime.process import check_device, load_any, prepare_process, start_or_exit, worker_name
from workers.runtime.process_exit import EXIT_S, end_within, exit_now
from workers.runtime.warm_up import WarmUp, reported
from workers.runtime.watchdog import STATUS
from workers.unet.maintenance.availability import AvailabilityReporter
from workers.unet.maintenance.recovery import Recovery
from workers.unet.maintenance.sweep import Sweeper
from workers.unet.process.device_turns import THREADS, DeviceTurns, LeaveDevice
from workers.unet.process.serving import IdleServing
from workers.unet.process.warm_up_model import PARTS, needs_warm_up, warm_up_model
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)


class WorkerLifecycle:
    """One UNet worker as a Celery process; its methods are connected to Celery's signals."""

    def __init__(self, celery: Celery, worker: UNetWorker, catalog: Catalog) -> None:
        self._celery, self._worker, self._catalog = celery, worker, catalog
        self._settings = worker.settings
        self._name = ""
        self._started_at = 0.0
        self._stops: list[Any] = []
        self._encodes: list[str] = []  # models whose prompts it encodes for other workers
        self._control: WorkerControl | None = None
        redis, ttl_s = worker.jobs.renewal_redis, self._settings.heartbeat_s * GRACE_BEATS
        self._availability = AvailabilityReporter(
            redis,
            serves=worker.serves,
            ttl_s=ttl_s,
            models=worker.models,
            cache=worker.loras,
            memory=worker.lora_memory,
            serving=ServerRegistration(
                redis, self._served_controlnets, lambda: worker.steps.platform_digest, ttl_s
            ),
        )
        self._turns = DeviceTurns(
            self._availability.busy_with,
            self._check_may_begin,
            jobs_wait=lambda: self._availability.jobs_wait,
            before_next=self._availability.prefer_patched_loras,
        )
        self._serving = IdleServing(worker, self._turns) if worker.served_controlnets else None

    def device_for(self, job_id: str) -> AbstractContextManager[LeaveDevice]:
        """Within the block this worker computes ``job_id`` and no other, until the job leaves the device.

        LoRAs are patched into weights that all jobs share. Raises `DeviceLost` once the device is lost, and
        `WorkerStopping` once the worker was told to stop.
        """
        return self._turns.take(job_id)

    def attach(self, message: AttachControlNet) -> None:
        """Prepare for steps of another worker's job; returns at once."""
        if self._serving is not None:
            self._serving.attach(message)

    def start(self, sender: Any, **_: object) -> None:
        """Celery's ``worker_init``: load a model, then begin to take jobs and to say so."""
        self._name, self._started_at = worker_name(sender), time.time()
        prepare_process(self._settings, self._name, sender.loglevel)
        self._control = control = WorkerControl(sender)
        control.set_threads(THREADS)
        self._worker.device_loss.on_loss(self._availability.stop)
        self._worker.device_loss.on_loss(lambda: control.stop(device_loss.STATUS))
        with start_or_exit():
            self._load_first_model()
        self._warm_up()
        self._declare_queues()
        self._start_threads(ConsumerCheck(sender, self._queues))

    def ready(self, **_: object) -> None:
        """Celery's ``worker_ready``: from now on messages come."""
        assert self._control is not None, "worker_init comes first"
        self._turns.limit_messages(self._control.hold)

    def leave(self, **_: object) -> None:
        """Celery's ``worker_shutting_down``: take no more jobs, and hand over the one that is computed."""
        self._worker.stopping.set()
        self._availability.stop()
        if self._serving is not None:
            self._serving.drain()
        try:
            self._worker.jobs.note_stopping(self._name)
        except RedisError:
            log.warning("could not report that this worker is stopped on purpose")

    def stop(self, **_: object) -> None:
        """Celery's ``worker_shutdown``: end the threads."""
        for stop in self._stops:
            stop()
        if self._worker.models.memory.has_given_up_load:
            exit_now(0)  # its thread uses the device, which closing would wait for; others free what is left
        end_within(EXIT_S, STATUS)
        if not self._worker.device_loss.is_lost:  # it may use the device
            self._worker.transport.close()
        self._worker.device_loss.exit_if_lost()

    def _check_may_begin(self) -> None:
        self._worker.device_loss.check()
        if self._worker.stopping.is_set():
            raise WorkerStopping("its worker was told to stop")

    def _load_first_model(self) -> None:
        settings, worker, catalog = self._settings, self._worker, self._catalog
        check_device(settings)
        step_bytes = largest_step_bytes_of_models(catalog, settings.catalog, worker.serves)
        worker.models.memory.models.capacity_bytes = budget_bytes(
            settings, worker.device, step_bytes, takes_residuals=True
        )
        worker.loras.trim()
        if worker.device.has_own_memory:
            self._warn_of_widened()
        load_any(
            worker.models,
            sorted(worker.serves, key=lambda model: model != catalog.default_model),
            check=lambda model: check_model_entry(model, catalog.models[model], settings.catalog),
        )

    def _warn_of_widened(self) -> None:
        for name in self._worker.serves:
            entry = self._catalog.models[name]
            if (stored := widened_from(entry, self._settings.catalog)) is not None:
                log.warning(
                    "the catalog says no dtype of a model: it takes twice the memory of its files",
                    extra={"model": name, "stored": stored, "loaded": entry.dtype},
                )

    def _warm_up(self) -> None:
        """Run what was loaded once; meanwhile the fleet sees a worker that takes no jobs."""
        worker = self._worker
        for name, model in worker.models.loaded().items():
            if needs_warm_up(model, worker.device):
                warm_up = WarmUp(name, PARTS, model.engines.own)
                compute = partial(warm_up_model, model, self._catalog.models[name], worker.device)
                report = partial(self._report, warm_up.problems)
                with (
                    worker.prompts.with_text_encoders(model),
                    reported(worker.jobs.redis, self._name, self._settings.heartbeat_s, report),
                ):
                    warm_up.run(compute)

    def _declare_queues(self) -> None:
        prompts, serves = self._worker.prompts, self._worker.serves
        self._encodes = [model for model in serves if prompts.encodes_for_others(model)]
        for model in self._worker.serves:
            queue = default_exchange_queue(worker_queue(model, self._name))
            self._celery.amqp.queues.select_add(queue)
        for model in self._encodes:
            self._celery.amqp.queues.select_add(default_exchange_queue(encode_queue(model)))
        if self._serving is not None:
            self._celery.amqp.queues.select_add(default_exchange_queue(attach_queue(self._name)))

    def _queues(self) -> list[str]:
        """What the worker consumes from: models that it cannot load are left to others."""
        failed = self._worker.models.failed()
        models = [model for model in self._worker.serves if model not in failed]
        kinds = (unet_queue, follow_queue, lambda model: worker_queue(model, self._name))
        attachments = [] if self._serving is None else [attach_queue(self._name)]
        encodings = [encode_queue(model) for model in models if model in self._encodes]
        return [*(queue(model) for model in models for queue in kinds), *encodings, *attachments]

    def _start_threads(self, consumer_check: ConsumerCheck) -> None:
        worker, settings = self._worker, self._settings
        redis = worker.jobs.redis
        LORA_CACHE_BYTES.labels("disk").set_function(worker.loras.used_bytes)
        LORA_CACHE_BYTES.labels("memory").set_function(worker.lora_memory.used_bytes)
        worker.watchdog.start()
        self._availability.start(self._name, consumer_check.is_healthy)
        heartbeat = HeartbeatThread(
            redis,
            self._name,
            settings.heartbeat_s,
            partial(self._report, consumer_check.problems),
            tasks=[
                self._availability.report,
                worker.transport.sweep,
                consumer_check.check,
                worker.activity.count,
            ],
        )
        heartbeat.start()
        recovery = Recovery(worker.jobs, self._catalog, settings)
        recovery.start()
        images, loras = ImageBucket(settings, redis), Bucket(settings, settings.lora_bucket)
        sweeper = Sweeper(worker.jobs, images, loras, worker.checkpoints)
        sweeper.start()
        self._stops = [worker.watchdog.stop, recovery.stop, heartbeat.stop, sweeper.stop]
        if self._serving is not None:
            self._serving.start(self._name)
            self._stops.insert(0, self._serving.stop)  # watched: a step may hang

    def _served_controlnets(self) -> list[str]:
        """The ControlNets whose steps it takes now, if it is free."""
        if self._serving is None or self._worker.watchdog.problems():
            return []
        return self._serving.served_now()

    def _report(self, problems: Callable[[], list[str]]) -> Heartbeat:
        """``problems``: why it takes no work now, beside its device's and its jobs'."""
        worker = self._worker
        return describe_worker(
            self._settings,
            worker.device_loss.usable_device,
            name=self._name,
            kind="unet",
            serves=worker.serves,
            loaded=worker.models.names(),
            jobs=sorted({*self._turns.storing(), *self._availability.jobs()}),
            attached_jobs=self._attached_jobs(),
            load_errors=worker.models.failed(),
            engines=describe_engines(worker.models),
            unavailable_reasons=[
                *worker.device_loss.problems(),
                *worker.watchdog.problems(),
                *problems(),
            ],
            warnings=worker.transport.warnings(),
            received_residuals=worker.transport.received_residuals(),
            activity=worker.activity,
            started_at=self._started_at,
            controlnets=ControlNetReport(
                served=worker.served_controlnets,
                loaded=[name for name in worker.controlnets.names() if name in worker.served_controlnets],
                load_errors=worker.controlnets.failed(),
            ),
        )

    def _attached_jobs(self) -> dict[str, list[str]]:
        """Jobs of other workers that it computes a part of, by model or ControlNet."""
        found = dict(self._worker.followed_jobs)
        for controlnet, jobs in (self._serving.attached_jobs() if self._serving else {}).items():
            found[controlnet] = [*found.get(controlnet, []), *jobs]
        return found
