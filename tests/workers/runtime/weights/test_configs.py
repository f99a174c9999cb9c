"""Which edits of a model's files, beside its weights, are told on receipts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from infra.tiny_models.z_image import make_z_image
from workers.families.z_image.model import ZImageModel

TEMPLATE = "{% for m in messages %}Draw in oil. {{ m['content'] }}{% endfor %}"
EDITS: dict[str, Callable[[Any], None]] = {
    "chat template": lambda pipe: setattr(pipe.tokenizer, "chat_template", TEMPLATE),
    "tokens": lambda pipe: pipe.tokenizer.add_tokens(["penguin"]),
    "side of padding": lambda pipe: setattr(pipe.tokenizer, "padding_side", "left"),
    "text encoder": lambda pipe: setattr(pipe.text_encoder.config, "rms_norm_eps", 0.5),
    "VAE": lambda pipe: pipe.vae.register_to_config(scaling_factor=0.5),
    "denoiser": lambda pipe: pipe.transformer.register_to_config(rope_theta=9.0),
}


def configs_sha256(edit: Callable[[Any], None] = lambda pipe: None) -> str:
    pipe = make_z_image()
    edit(pipe)
    return ZImageModel("tiny", pipe).configs_sha256


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_of_a_config_or_tokenizer_shows(edit: Callable[[Any], None]) -> None:
    assert configs_sha256(edit) != configs_sha256()


def test_the_folder_the_version_that_saved_it_and_how_it_was_loaded_do_not_show() -> None:
    def move(pipe: Any) -> None:
        for part in (pipe.vae, pipe.transformer):
            part.register_to_config(_name_or_path="/elsewhere", _diffusers_version="0.1.0")
        pipe.text_encoder.config.dtype = torch.float16  # as `from_config` with a type writes it
        pipe.text_encoder.config.transformers_version = "0.1.0"
        pipe.text_encoder.config.name_or_path = pipe.tokenizer.name_or_path = "/elsewhere"

    assert configs_sha256(move) == configs_sha256()
