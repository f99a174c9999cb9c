import io

from PIL import Image

from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.receipt import Receipt
from tests.samples.old_versions import old_receipt
from workers.unet.output.images import encode_png


def test_a_png_carries_request_receipt_and_index() -> None:
    receipt = LegacyReceipt.model_validate(old_receipt(2)).upgraded()
    with Image.open(io.BytesIO(encode_png(Image.new("RGB", (8, 8)), receipt, 2))) as image:
        image.load()
        assert image.info["index"] == "2"
        assert Receipt.model_validate_json(image.info["receipt"]) == receipt
        assert image.info["request"] == receipt.spec.model_dump_json()
