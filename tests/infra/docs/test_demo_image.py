from io import BytesIO

from PIL import Image

from infra.docs.demo_image import CELL_PX, GAP_PX, PROMPTS, add_ons, paste, prompts


class OneColourClient:
    """Generates a red image for every prompt, and notes what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, object]]] = []

    def generate(self, prompt: str, **fields: object) -> "OneColourClient":
        self.requests.append((prompt, fields))
        return self

    @property
    def images(self) -> list[bytes]:
        file = BytesIO()
        Image.new("RGB", (64, 64), "red").save(file, "PNG")
        return [file.getvalue()]


def test_the_sheet_shows_each_prompt_and_each_add_on_above_its_caption() -> None:
    client = OneColourClient()
    rows = [list(prompts(client)), list(add_ons(client))]  # type: ignore[arg-type]
    sheet = paste(rows)
    assert [prompt for prompt, _ in client.requests[: len(PROMPTS)]] == PROMPTS
    assert any("loras" in fields for _, fields in client.requests)
    assert any("controlnets" in fields for _, fields in client.requests)
    assert sheet.getpixel((GAP_PX + CELL_PX // 2, GAP_PX + CELL_PX // 2)) == (255, 0, 0)
    assert sheet.getpixel((0, 0)) == (255, 255, 255)
    captions = sheet.crop((0, GAP_PX + CELL_PX, sheet.width, GAP_PX + CELL_PX + 30))
    assert len(captions.getcolors() or []) > 1
