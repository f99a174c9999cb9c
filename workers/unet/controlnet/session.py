"""What the steps of one attempt share: published inputs, ControlNets held here, and what has served them."""

from collections.abc import Generator, Iterator, Mapping, Sequence

from torch import Tensor

from shared.errors import ControlNetFailed
from workers.transport.codecs import as_sent
from workers.transport.pixels import pack_pixels
from workers.transport.protocol import ControlNetCall, StepRequest, StepResponse
from workers.unet.attempt_context import AttemptContext
from workers.unet.controlnet.first_residual_timer import FirstResidualTimer
from workers.unet.controlnet.local import LocalControlNets


class ControlNetSession:
    """The ControlNets of one CFG branch of an attempt, over all of its steps."""

    def __init__(self, context: AttemptContext, first_residual: FirstResidualTimer) -> None:
        self.context = context
        self.image_keys: list[str] = []  # of the control images at the residual server
        self.input_keys: dict[str, str] = {}
        self.inputs: Mapping[str, Tensor] = {}  # on the device
        self._images: list[Tensor] = []
        self._packed_images: list[Tensor] = []  # as they are stored
        self._input_copies: Mapping[str, Tensor] = {}  # in the host's memory
        self._first_residual = first_residual
        worker = context.worker
        self._local = LocalControlNets(
            worker.controlnets, context.model, worker.device, context.timeline.worker
        )
        self._computed: dict[int, Generator[tuple[StepResponse, Tensor]]] = {}  # by position
        self._may_choose_local = worker.settings.local_controlnets == "auto"

    def publish_images(self, images: list[Tensor]) -> None:
        """Store what `BaseModel.control_inputs` has made at the residual server."""
        self._images = images
        self._packed_images = [pack_pixels(image) for image in images]
        self.image_keys = [self.context.worker.transport.put_input(image) for image in self._packed_images]

    def publish_inputs(self, inputs: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> None:
        """Store the other inputs, by name: the ControlNets take these from the next step on."""
        self.inputs, self._input_copies = inputs, copies
        put = self.context.worker.transport.put_input
        self.input_keys = {name: put(tensor) for name, tensor in copies.items()}

    def publish_again(self) -> None:
        """Store all inputs once more: the residual server may have lost them."""
        for tensor in (*self._input_copies.values(), *self._packed_images):
            self.context.worker.transport.put_input(tensor)

    def local_positions(self, parts: Sequence[ControlNetCall]) -> frozenset[int]:
        """Those of a step's ControlNets that are computed here, without asking others.

        Nobody else could serve them now, or their residuals would travel for too long: then what is not
        loaded here yet is loaded meanwhile, if it fits. Or they compute with layers of the base model as only
        this worker has them: then they are loaded when they are computed. Raises `ControlNetFailed` if they
        may not be.
        """
        others, found = self.context.worker.other_workers, []
        for part in parts:
            if self._needs_this_base(part.controlnet):
                found.append(part.position)
                continue
            is_near = self._may_choose_local and self._is_nearer_here(part)
            if is_near or (self.holds(part) and not others.may_serve(part.controlnet, part.platform)):
                found.append(part.position)
        return frozenset(found)

    def _needs_this_base(self, controlnet: str) -> bool:
        """Whether it uses layers of the base model that are not those which ControlNet workers load."""
        worker, model = self.context.worker, self.context.model
        layers = model.facts.controlnet_layers
        if not layers:
            return False
        is_patched = model.patcher.has_changed(model.facts.denoiser, layers)
        if not is_patched and worker.controlnet_configs.is_first_base(controlnet, model.name):
            return False
        if not worker.residency.may_hold(controlnet):
            why = "a LoRA has patched" if is_patched else "are not those of its first model"
            raise ControlNetFailed(
                f"ControlNet {controlnet!r} uses layers of model {model.name!r} which {why}: only a worker of"
                " the model could compute it, and SWIFT_WORKER_CONTROLNETS keeps this one from loading it"
            )
        return True

    def _is_nearer_here(self, part: ControlNetCall) -> bool:
        choice, name = self.context.worker.local_choice, part.controlnet
        if not choice.is_local(name):
            return False
        is_held = self.holds(part)
        if not is_held and not self.context.worker.residency.load_for_job(name):
            choice.note_unloadable(name)
        return is_held

    def holds(self, part: ControlNetCall) -> bool:
        """Whether its ControlNet can be computed here at once; if so, it stays loaded until `make_room`."""
        name = part.controlnet
        may_hold = self.context.worker.residency.may_hold(name) and not self.has_other_weights(name)
        return may_hold and self._local.pin(name)

    def has_other_weights(self, controlnet: str) -> bool:
        """Whether what is loaded here cannot compute its steps, as those before had other weights."""
        loaded = self.context.worker.controlnets.loaded().get(controlnet)
        return loaded is not None and not self.context.used_controlnets.fits(controlnet, loaded.sha256)

    def can_load(self, controlnet: str) -> bool:
        """Whether a load here may help: this worker may hold it, and nothing says that it would fail."""
        return self.context.worker.residency.can_load(controlnet) and not self.has_other_weights(controlnet)

    def compute_locally(
        self, request: StepRequest, part: ControlNetCall, x: Tensor
    ) -> Iterator[tuple[StepResponse, Tensor]]:
        """What a ControlNet worker would respond, computed here while it is iterated."""
        computed = self._local.compute(request, part, x, self.inputs, self._images[part.position])
        self._computed[part.position] = computed
        # Apply the transport's codec here too, so that a locally computed residual has the same bits as a
        # remote one.
        precision = self.context.spec.residual_precision
        return ((response, as_sent(residual, precision)) for response, residual in computed)

    def last_on_demand(self, parts: Sequence[ControlNetCall]) -> dict[int, int]:
        """The number of the last residual of each of a step's ControlNets, by position; empty if they cannot
        compute each residual when it is asked for: then several must stay loaded at once."""
        names = {part.controlnet for part in parts}
        loaded = self.context.worker.controlnets.loaded()
        if not all(name in loaded and loaded[name].is_on_demand for name in names):
            return {}
        if len(names) > 1 and not self._local.pinned.issuperset(names):
            return {}
        return {part.position: loaded[part.controlnet].order[-1] for part in parts}

    def make_room(self) -> None:
        """What was loaded here for this branch may be evicted, until `holds` asks for it again.

        Where not all ControlNets of a job fit into memory at once, each step loads one after another.
        """
        self._local.unpin_all()

    def close(self) -> None:
        """No further step: what was loaded here for this branch may be evicted."""
        for computed in self._computed.values():
            computed.close()  # of a step that was not ended
        self._local.unpin_all()

    def record_travel(self, part: ControlNetCall, computed_s: float, travel_s: float) -> None:
        """Note how long a worker computed a step, and how long its residuals were waited for after that."""
        if self._may_choose_local:
            self.context.worker.local_choice.record(part.controlnet, computed_s, travel_s)

    def record(self, response: StepResponse) -> None:
        """Note what the receipt says about a response, before its residual is used.

        Raises `ReceiptMismatch` in a replay if the weights are not the receipt's.
        """
        self._first_residual.stop()
        for position, used in response.used.items():
            self.context.replay.check_controlnet(self.context.spec.controlnets[position].name, used.sha256)
        self.context.used_controlnets.record(response)
