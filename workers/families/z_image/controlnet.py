"""The ControlNets of Z-Image (Fun-ControlNet-Union 1.0, 2.0, 2.1): each hint leaves when its layer is done.

They compute with embedders and refiners of their base model: on a ControlNet worker with those that were
loaded beside them, on the base model's own worker with its own (`ZImageControlNet.with_base`).
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from diffusers import ZImageControlNetModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from shared.errors import ControlNetFailed
from workers.families.transformer.controlnet import ControlNetInputs, TransformerControlNet
from workers.families.z_image.control_layers import Tokens, run_layers
from workers.families.z_image.patches import Patches, pad_caption, patchify
from workers.runtime.weights.loaded import first_parameter


class ZImageControlNet(TransformerControlNet):
    """See `ControlNet`; residual ``i`` is the hint of control layer ``i``, for tokens of image and text."""

    #: Of the hints that the base model's noise refiner is given within the forward.
    _scale = 1.0

    def with_base(self, parts: Mapping[str, nn.Module]) -> Self:
        """See `ControlNet`; raises `ControlNetFailed` where the two have different types of numbers."""
        base = parts["transformer"]
        if (dtype := first_parameter(base).dtype) != self.dtype:
            detail = f"is loaded as {self.dtype}, the base model whose layers it uses as {dtype}"
            raise ControlNetFailed(f"ControlNet {self.name!r} {detail}: their catalog entries must agree")
        model = copy.copy(self.model)
        for own in ("_modules", "_parameters"):  # which the copy shares
            setattr(model, own, dict(getattr(model, own)))
        bound = copy.copy(self)
        bound.model = ZImageControlNetModel.from_transformer(model, base)
        return bound

    def at_scale(self, scale: float) -> Self:
        """See `ControlNet`."""
        scaled = copy.copy(self)
        scaled._scale = scale
        return scaled

    def check_mode(self, mode: int | None) -> None:
        """See `TransformerControlNet`."""
        if mode is not None:
            raise ControlNetFailed(
                f"ControlNet {self.name!r} has no control_mode: it tells images apart itself"
            )

    @torch.inference_mode()
    def embed(self, control: Tensor, batch: int) -> Tensor:
        """``(batch, tokens, d)`` of control latents ``(n, c, h/8, w/8)``.

        Channels of a mask and of what it keeps are zeros where a job has none.
        """
        rows = control.to(self.device, self.dtype).repeat(batch // len(control), 1, 1, 1)
        lacking = self.model.config.control_in_dim - rows.shape[1]
        if lacking < 0:
            raise ControlNetFailed(f"ControlNet {self.name!r} was not trained to inpaint: it takes no mask")
        rows = torch.nn.functional.pad(rows, (0, 0, 0, 0, 0, lacking))
        return patchify(rows).embed(self.model.control_all_x_embedder, self.model.x_pad_token)

    @torch.inference_mode()
    def prepare(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Captions after the context refiner, which sees neither latents nor timestep.

        ``captions``, ``(b, tokens, d)``, with ``freqs`` of their places and ``mask``, false where a shorter
        one is padded; ``image_start``, ``(b,)``: the place of the image, which follows the caption.
        """
        controlnet = self.model
        lengths = inputs["lengths"].int().tolist()  # which waits for the device, once a prompt
        captions = inputs["captions"].to(self.device, self.dtype)
        padded = [
            pad_caption(controlnet, row[:length]) for row, length in zip(captions, lengths, strict=True)
        ]
        rows, ids, pads = (list(tensors) for tensors in zip(*padded, strict=True))
        sizes = [len(row) for row in rows]
        text = controlnet.cap_embedder(torch.cat(rows))
        text = torch.where(torch.cat(pads).unsqueeze(-1), controlnet.cap_pad_token, text)
        text = pad_sequence(list(torch.split(text, sizes)), batch_first=True)
        freqs = pad_sequence(list(controlnet.rope_embedder(torch.cat(ids)).split(sizes)), batch_first=True)
        ends = torch.tensor(sizes, device=self.device)
        mask = torch.arange(text.shape[1], device=self.device) < ends.unsqueeze(1)
        for layer in controlnet.context_refiner:
            text = layer(text, mask, freqs)
        text = text.masked_fill(~mask.unsqueeze(-1), 0.0)
        return {"captions": text, "freqs": freqs, "mask": mask, "image_start": ends + 1}

    def residuals(self, inputs: ControlNetInputs) -> Iterator[tuple[int, Tensor]]:
        """See `TransformerControlNet`; refiners come first, hints that no base model reads are dropped."""
        patches, prepared = patchify(inputs.x), inputs.prepared
        if patches.tokens.shape[1] != inputs.control.shape[1]:
            raise ControlNetFailed(f"ControlNet {self.name!r}: its image and the latents differ in size")
        image, control = self._refine(patches, inputs)
        captions = prepared["captions"]
        tokens = Tokens(
            torch.cat([image.x, captions], dim=1),
            torch.cat([image.mask, prepared["mask"]], dim=1),
            torch.cat([image.freqs, prepared["freqs"]], dim=1),
            image.time,
        )
        layers = self.model.control_layers[: max(self.order) + 1]
        for index, (hint, _) in enumerate(run_layers(layers, torch.cat([control, captions], dim=1), tokens)):
            if index in self.wanted:
                yield index, hint

    def _refine(self, patches: Patches, inputs: ControlNetInputs) -> tuple[Tokens, Tensor]:
        """The image's tokens after the base model's noise refiner, and the control tokens after their own.

        In 2.0 and 2.1 the noise refiner is given hints; in 2.0 the control layers themselves make them.
        """
        controlnet, control = self.model, inputs.control
        embedded = patches.embed(controlnet.all_x_embedder, controlnet.x_pad_token)
        time = controlnet.t_embedder((1000 - inputs.t) / 1000 * controlnet.t_scale).type_as(embedded)
        mask = torch.ones(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
        freqs = patches.place_freqs(controlnet, inputs.prepared["image_start"])
        image = Tokens(embedded, mask, freqs, time)
        hints: dict[int, Tensor] = {}
        if controlnet.add_control_noise_refiner is None:
            for layer in controlnet.control_noise_refiner:
                control = layer(control, mask, freqs, time)
        else:
            is_own = controlnet.add_control_noise_refiner == "control_noise_refiner"
            layers = controlnet.control_noise_refiner if is_own else controlnet.control_layers
            outputs, places = (
                list(run_layers(layers, control, image)),
                controlnet.control_refiner_layers_places,
            )
            hints = {place: outputs[i][0] * self._scale for i, place in enumerate(places)}
            control = outputs[-1][1]
        for place, layer in enumerate(controlnet.noise_refiner):
            x = layer(image.x, mask, freqs, time)
            image = image._replace(x=x + hints[place] if place in hints else x)
        return image, control
