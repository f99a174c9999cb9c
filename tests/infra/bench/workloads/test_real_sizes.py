import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from infra.bench.workloads.real_sizes import text_config
from infra.emoji_files import EMOJI
from workers.model_checks.tokenizer import check_tokenizer


@pytest.mark.parametrize("size", ["large", "big"])
def test_workers_accept_the_text_encoders_beside_the_embedded_tokenizer(size: str, tmp_path: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "model" / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    config = json.loads(text_config(size, tokenizer).to_json_string(use_diff=False))
    check_tokenizer(tmp_path, "tokenizer", config)
    assert config["eos_token_id"] < config["vocab_size"]
