"""What one UNet worker has at hand, made once per process."""

from dataclasses import dataclass

from shared.blobs import Bucket
from shared.jobs import JobStore
from shared.settings import Settings
from workers.busy import BusyShare
from workers.lora.cache import LoraCache
from workers.lora.memory import LoraMemory
from workers.resident import Residents
from workers.residuals.steps import Steps
from workers.residuals.transport import Transport
from workers.unet.models import BaseModel
from workers.unet.nets import SendAttach


@dataclass(frozen=True, kw_only=True)
class UNetWorker:
    """The collaborators of `workers.unet.draw`."""

    settings: Settings
    jobs: JobStore
    images: Bucket
    loras: LoraCache
    lora_memory: LoraMemory
    models: Residents[BaseModel]
    steps: Steps
    transport: Transport
    send_attach: SendAttach
    busy: BusyShare
