"""LoRA files of real size for the timed models: of a rank so high that their factors take as many bytes."""

from collections.abc import Iterator, Sequence

import torch
from safetensors.torch import save

from infra.bench.harness.report import FOLDER
from infra.bench.harness.s3 import BUCKETS, Storage
from infra.bench.simulate.fleet.loras import lora_bytes
from infra.bench.timed.models import WIDTH
from infra.bench.timed.stream import lora_name

#: Where S3 keeps them from run to run: raise the number when what is made changes.
LORA_HOME = FOLDER / "large-loras-1"
#: The least and the largest file.
SIZES_BYTES = (100e6, 300e6)
#: Linear layers of the timed UNet that are trained, each 8 wide.
PLACES = tuple(
    f"unet.down_blocks.0.attentions.0.transformer_blocks.0.{attention}.{layer}"
    for attention in ("attn1", "attn2")
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
)
#: Bytes of one rank in float16, both factors.
_RANK_BYTES = 2 * 2 * WIDTH


def put_large_loras(storage: Storage, count: int) -> None:
    """Put the first ``count`` into the bucket, but for those that are there."""
    listed = storage.client.list_objects_v2(Bucket=BUCKETS[0]).get("Contents", [])
    there = {str(item["Key"]) for item in listed}
    keys = {lora: f"{lora_name(lora)}.safetensors" for lora in range(count)}
    missing = [lora for lora, key in keys.items() if key not in there]
    if not missing:
        return
    print(f"  making {len(missing)} LoRAs, once, in {LORA_HOME}", flush=True)
    for lora, data in zip(missing, make_large_loras(missing), strict=True):
        storage.client.put_object(Bucket=BUCKETS[0], Key=keys[lora], Body=data)


def make_large_loras(ranks: Sequence[int], sizes_bytes: tuple[float, float] = SIZES_BYTES) -> Iterator[bytes]:
    """The safetensors files of some LoRAs by their rank in popularity: all different, of these sizes."""
    numbers = torch.randn(int(sizes_bytes[1]) // 2, generator=torch.Generator().manual_seed(0)).half()
    for lora in ranks:
        rank = int(lora_bytes(lora, sizes_bytes)) // (_RANK_BYTES * len(PLACES))
        shifted = numbers.roll(lora)
        factors = shifted[: 2 * len(PLACES) * rank * WIDTH].view(2 * len(PLACES), -1) * 0.005
        tensors = {}
        for i, place in enumerate(PLACES):
            tensors[f"{place}.lora_A.weight"] = factors[2 * i].view(rank, WIDTH)
            tensors[f"{place}.lora_B.weight"] = factors[2 * i + 1].view(WIDTH, rank)
        yield save(tensors)
