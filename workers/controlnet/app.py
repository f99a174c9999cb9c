"""The ControlNet worker's Celery app: ``celery -A workers.controlnet.app worker --pool=threads``.

Celery carries the attachments; the steps themselves come through the residual transport.
"""

from typing import Any

from celery.signals import worker_init, worker_shutdown

from shared.catalogue import read_catalogue
from shared.connections import control_redis, residual_servers
from shared.messages import Attach
from shared.queues import ATTACH, make_celery, net_queue
from shared.settings import read_settings
from shared.startup import exit_with_reason
from workers.controlnet.serve import Server
from workers.heartbeat import Reporter
from workers.nets.loading import check_nets, nets_of
from workers.process import choose, prepare_process, start_or_exit, worker_name
from workers.resident import Memory
from workers.residuals.steps import Steps
from workers.residuals.transport import Transport

with exit_with_reason():
    settings = read_settings()
    catalogue = read_catalogue(settings.catalog, settings)
    served = choose("SWIFT_WORKER_NETS", settings.worker_nets, list(catalogue.controlnets))
app = make_celery(settings, queues=[net_queue(net) for net in served])


nets = nets_of(catalogue, settings, Memory(settings.model_memory_bytes))
residuals = residual_servers(settings)
transport = Transport(residuals, settings)
server = Server(served, nets, Steps(residuals[0], settings), transport, settings.net_batch_delay)


@worker_init.connect
def _start(sender: Any, **_: object) -> None:
    prepare_process(settings, worker_name(sender), sender.loglevel)
    with start_or_exit():
        check_nets(catalogue, settings, served)
        with nets.use(served[0]):
            pass  # one net is warm before the first job
    server.start(worker_name(sender))
    reporter = Reporter(
        redis=control_redis(settings),
        settings=settings,
        name=worker_name(sender),
        kind="controlnet",
        serves=served,
        loaded=nets.names,
        doing=server.sessions.jobs,
        sessions=server.sessions.by_net,
        busy_share=server.busy.share,
        chores=[transport.tidy],
    )
    reporter.start()

    @worker_shutdown.connect(weak=False)
    def _end(**_: object) -> None:
        server.stop()
        transport.shut()
        reporter.stop()


@app.task(name=ATTACH)
def attach(payload: dict[str, Any]) -> None:
    """Be ready for a job's steps."""
    server.attach(Attach.model_validate(payload))
