"""Many LoRAs for the embedded model from fixed seeds, 0.2 to 1 MB each, and their objects in S3."""

import hashlib
import json
import random
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save
from torch import nn

from infra.emoji_files import EMOJI
from shared.jobs.spec import LoraRef
from shared.keys import LOCAL
from shared.storage.loras import lora_key
from shared.storage.object_store import Bucket

OCTETS = "application/octet-stream"
MIN_BYTES, MAX_BYTES = 200_000, 1_000_000
#: Strong enough to be seen in every image, weak enough that it stays an image.
SPREAD = 0.03


def attention_shapes() -> dict[str, tuple[int, int]]:
    """The attention layers of the embedded UNet: rows and columns of each, by name."""
    unet = UNet2DConditionModel.from_pretrained(EMOJI / "model", subfolder="unet")
    return {
        name: (layer.out_features, layer.in_features)
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear) and ".attn" in name
    }


def make_lora(shapes: dict[str, tuple[int, int]], seed: int) -> bytes:
    """A safetensors file in PEFT's names, float32; the seed decides every byte, the rank among them."""
    generator = torch.Generator().manual_seed(seed)
    rank_bytes = 4 * sum(rows + columns for rows, columns in shapes.values())
    lowest, highest = -(-MIN_BYTES // rank_bytes), MAX_BYTES // rank_bytes
    rank = int(torch.randint(lowest, highest + 1, (1,), generator=generator))
    tensors = {}
    for name, (rows, columns) in shapes.items():
        for side, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            tensors[f"unet.{name}.lora_{side}.weight"] = SPREAD * torch.randn(shape, generator=generator)
    return save(tensors, {"seed": json.dumps(seed)})


@dataclass
class Shelf:
    """The LoRAs of the bucket: what each is now, and what every ETag ever stood for."""

    bucket: Bucket
    count: int
    shapes: dict[str, tuple[int, int]] = field(default_factory=attention_shapes)
    now: dict[int, LoraRef] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)  # by ETag
    versions: int = 0

    def put(self, index: int) -> None:
        """Upload a LoRA, or overwrite it with another."""
        self.versions += 1
        body = make_lora(self.shapes, self.versions)
        name, sha256 = f"soak-{index}", hashlib.sha256(body).hexdigest()
        etag = self.bucket.put(
            lora_key(name, tenant=LOCAL), body, content_type=OCTETS, metadata={"sha256": sha256}
        )
        self.now[index] = LoraRef(name=name, etag=etag, size_bytes=len(body), scale=1.0)
        self.sha256[etag] = sha256

    def choose(self, chance: random.Random) -> LoraRef:
        """One of them; a few are asked for often, most of them hardly ever."""
        return self.now[int(self.count * chance.random() ** 3)]

    def is_current(self, ref: LoraRef) -> bool:
        """Whether S3 still has exactly this version."""
        return any(ref.name == now.name and ref.etag == now.etag for now in self.now.values())

    @property
    def total_bytes(self) -> int:
        """Bytes of all LoRAs as they are now."""
        return sum(ref.size_bytes for ref in self.now.values())
