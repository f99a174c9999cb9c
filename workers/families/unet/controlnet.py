"""A ControlNet of a UNet, in an order in which each residual can leave as soon as it exists, deepest first.

The calls are those of ``diffusers.ControlNetModel.forward`` in another order, so the results are
bit-equal: all blocks run first, then the zero convolutions from the mid block up.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shared.errors import ControlNetFailed, ModelFailed
from shared.families.unet import SD1
from workers.devices.selection import find_device
from workers.engines.base import Engine, ForwardPass, Tensors
from workers.engines.eager import EAGER
from workers.families.base_controlnet import ControlNet, ControlNetForward
from workers.families.unet.projection_cache import (
    Projection,
    find_projections,
    project,
    projections_given,
)

#: A text encoder's window.
TOKENS = 77


class UNetControlNet(ControlNet):
    """See `ControlNet`; the residuals are numbered as `shared.families.unet.UNetFacts.control_plan` says."""

    #: The ``control_mode`` of a warm-up.
    warm_up_mode: int | None = None

    def __init__(self, name: str, model: Any, sha256: str | None = None) -> None:
        if model.config.class_embed_type:
            raise ModelFailed(f"ControlNet {name!r} takes class labels: no family that is served has them")
        super().__init__(name, model, sha256)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """See `ControlNet`: deepest first."""
        return SD1.control_plan(self.model.config, None).wanted

    def check(self, position: int, *, guess_mode: bool) -> None:
        """See `ControlNet`: with a first ControlNet that pools, diffusers guesses, and the web could not
        always know it."""
        if self.model.config.global_pool_conditions and position == 0 and not guess_mode:
            detail = "pools its residuals: a job whose first ControlNet it is needs guess_mode true"
            raise ControlNetFailed(f"ControlNet {self.name!r} {detail}")

    # Of a weight: diffusers' own properties look through all modules, at every call.

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.model.conv_in.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """In what it computes."""
        dtype: torch.dtype = self.model.conv_in.weight.dtype
        return dtype

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, c, h/f, w/f)`` of pixels ``(1, 3, h, w)`` in 0..1.

        They are embedded at the batch size of the steps, because another size could change the last bits.
        """
        rows = control.expand(batch, -1, -1, -1).to(self.device, self.dtype)
        if self.model.config.controlnet_conditioning_channel_order == "bgr":
            rows = torch.flip(rows, dims=[1])
        embedded: Tensor = self.model.controlnet_cond_embedding(rows.contiguous())
        return embedded

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``embeddings``, ``(b, tokens, d)``; of SDXL also ``added``, ``(b, d)``: pooled text and sizes."""
        controlnet = self.model
        prepared = {"embeddings": inputs["embeddings"].to(self.device, self.dtype)}
        if controlnet.config.addition_embed_type == "text_time":
            text, ids = (inputs[name].to(self.device) for name in ("text_embeds", "time_ids"))
            sizes = controlnet.add_time_proj(ids.flatten()).reshape(len(text), -1)
            prepared["added"] = controlnet.add_embedding(torch.cat([text, sizes], dim=-1).to(self.dtype))
        return prepared

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        prepared: Mapping[str, Tensor],
        control: Tensor,
        mode: int | None = None,
        engine: Engine = EAGER,
    ) -> "UNetControlNetForward":
        """See `ControlNet`; all blocks run here, the zero convolutions while it is iterated."""
        run = engine.begin()
        features = self.features(x, t, prepared, control, mode, run)
        groups = self.groups if engine.joins_stages else [(index,) for index in self.order]
        return UNetControlNetForward(self.model, groups, features, run)

    @torch.inference_mode()
    def features(
        self,
        x: Tensor,
        t: Tensor,
        prepared: Mapping[str, Tensor],
        control: Tensor,
        mode: int | None,
        run: ForwardPass,
    ) -> list[Tensor]:
        """What the zero convolutions are given: skips, shallowest first, and the mid block's output.

        ``x`` is ``(b, c, h/f, w/f)``; the rest as in `forward`.
        """
        constants = [control, self._kind(mode), prepared["embeddings"], prepared.get("added")]
        projections = project(self._projections, prepared["embeddings"])
        stage = ControlNetBlocks(self, self._projections, mode)
        return list(run(stage, [x.to(self.device, self.dtype), t], [*constants, *projections]))

    @cached_property
    def groups(self) -> list[tuple[int, ...]]:
        """`order`, cut where a base model of the same layout runs a decoder block in between."""
        layers, blocks = self.model.config.layers_per_block, len(self.model.config.block_out_channels)
        counts = [layers] * blocks if isinstance(layers, int) else list(layers)
        groups, left = [], list(self.order)
        for place, count in enumerate(reversed(counts)):
            size = count + 1 + (place == 0)  # the first takes the mid block's residual, too
            groups.append(tuple(left[:size]))
            left = left[size:]
        return groups

    @cached_property
    def _projections(self) -> tuple[Projection, ...]:
        return find_projections(*self.model.down_blocks, self.model.mid_block)

    @torch.inference_mode()
    def warm_up(self, size: tuple[int, int], rows: int) -> None:
        """See `ControlNet`; of zeros, and a prompt of one window."""
        config, (width, height) = self.model.config, size
        control = self.embed(torch.zeros(1, config.conditioning_channels, height, width), rows)
        inputs = {"embeddings": torch.zeros(rows, TOKENS, config.cross_attention_dim)}
        if config.addition_embed_type == "text_time":
            ids = 6
            pooled = config.projection_class_embeddings_input_dim - ids * config.addition_time_embed_dim
            inputs |= {"text_embeds": torch.zeros(rows, pooled), "time_ids": torch.zeros(rows, ids)}
        prepared = self.prepare(inputs)
        x = torch.zeros(rows, config.in_channels, *control.shape[-2:])
        t = torch.full((rows,), 500.0, device=self.device)
        list(self.forward(x, t, prepared, control, self.warm_up_mode, self.engines.own))

    @torch.inference_mode()
    def scale(self, residual: Tensor, index: int, scale: float, *, guess_mode: bool) -> Tensor:
        """See `ControlNet`: in guess mode the shallow ones less than the deep.

        A ControlNet that pools gives one value for each channel, ``(b, c, 1, 1)``.
        """
        if self.model.config.global_pool_conditions:
            return torch.mean(residual * scale, dim=(2, 3), keepdim=True)
        if not guess_mode:
            return residual * scale
        scales = torch.logspace(-1, 0, len(self.order), device=residual.device) * scale
        return residual * scales[index]

    def _kind(self, mode: int | None) -> Tensor | None:
        """Of a union what says which kind of control image it is given."""
        if mode is not None:
            raise ControlNetFailed(f"ControlNet {self.name!r} is no union: it has no control_mode")
        return None

    def embed_time(self, t: Tensor, rows: int, kind: Tensor | None) -> Tensor:
        """The time embedding, ``(b, d)``."""
        controlnet = self.model
        embedded: Tensor = controlnet.time_embedding(
            controlnet.time_proj(t.to(self.device).expand(rows)).to(self.dtype)
        )
        return embedded

    def enter(self, x: Tensor, control: Tensor, mode: int | None) -> Tensor:
        """The first layer, and the control image."""
        entered: Tensor = self.model.conv_in(x) + control
        return entered


@dataclass(frozen=True)
class ControlNetBlocks:
    """A stage: everything before the zero convolutions.

    Inputs: ``x`` and ``t``. Constants: the embedded control image, a union's kind, the embeddings, what is
    added to the time embedding, keys and values. Outputs: see `UNetControlNet.features`.
    """

    controlnet: UNetControlNet
    projections: tuple[Projection, ...] = field(compare=False)
    mode: int | None

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """See `Stage`."""
        (x, t), (control, kind, embeddings, added, *projections) = inputs, constants
        assert x is not None
        assert t is not None
        assert control is not None
        time = self.controlnet.embed_time(t, x.shape[0], kind)
        if added is not None:
            time = time + added
        with projections_given(self.projections, projections):
            return self._run_blocks(self.controlnet.enter(x, control, self.mode), time, embeddings)

    def _run_blocks(self, x: Tensor, time: Tensor, embeddings: Tensor | None) -> tuple[Tensor, ...]:
        controlnet = self.controlnet.model
        skips = [x]
        for block in controlnet.down_blocks:
            if getattr(block, "has_cross_attention", False):
                x, outputs = block(hidden_states=x, temb=time, encoder_hidden_states=embeddings)
            else:
                x, outputs = block(hidden_states=x, temb=time)
            skips.extend(outputs)
        if getattr(controlnet.mid_block, "has_cross_attention", False):
            x = controlnet.mid_block(x, time, encoder_hidden_states=embeddings)
        elif controlnet.mid_block is not None:
            x = controlnet.mid_block(x, time)
        return *skips, x


@dataclass(frozen=True)
class ZeroConvolutions:
    """A stage: some of a ControlNet's output convolutions. Inputs: their features; outputs: residuals."""

    model: Any
    indices: tuple[int, ...]

    def __call__(self, inputs: Tensors, constants: Tensors) -> tuple[Tensor, ...]:
        """See `Stage`."""
        convolutions = [*self.model.controlnet_down_blocks, self.model.controlnet_mid_block]
        return tuple(
            convolutions[index](features) for index, features in zip(self.indices, inputs, strict=True)
        )


class UNetControlNetForward(ControlNetForward):
    """The zero convolutions that are still to run, group by group."""

    def __init__(
        self, model: Any, groups: Sequence[tuple[int, ...]], features: list[Tensor], run: ForwardPass
    ) -> None:
        self._model, self._features, self._run = model, features, run
        self._groups = iter(groups)
        self._computed: Iterator[tuple[int, Tensor]] = iter(())

    @torch.inference_mode()
    def __next__(self) -> tuple[int, Tensor]:
        computed = next(self._computed, None)
        return self._next_group() if computed is None else computed

    @torch.inference_mode()
    def select_rows(self, rows: Tensor) -> None:
        """See `ControlNetForward`; before the first residual."""
        # As indices: to select by a mask the device would have to be waited for.
        kept = find_device(self._features[0].device).from_host(rows.nonzero().flatten())
        self._features = [tensor[kept] for tensor in self._features]

    def _next_group(self) -> tuple[int, Tensor]:
        try:
            group = next(self._groups)
        except StopIteration:
            self._run.end()
            raise
        residuals = self._run(ZeroConvolutions(self._model, group), [self._features[i] for i in group])
        self._computed = iter(zip(group, residuals, strict=True))
        return next(self._computed)
