"""Words that the code once used for things that have a name: each is banned, with the word to use."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

#: What is searched for, and what a reader of diffusers, vLLM, Celery or dramatiq expects in its place.
BANNED = {
    r"compan(y|ies)": "batch",
    r"postm[ae]n|mail": "response, envelope",
    r"seats?": "availability",
    r"halves": "CFG branches",
    r"victims?": "target, evicted",
    r"patien(ce|t)|impatient": "deadline, timeout, wait budget",
    r"obstacles?": "what is waited for",
    r"pulse": "lease renewal",
    r"paint(s|ed|er)?": "generate",
    r"(laid|lay|lays) down": "store",
    r"rungs?|ladder": "backend",
    r"the house": "architecture",
    r"catalogues?": "catalog",
    r"pictures?": "image",
    r"drawn|drew|draws": "generate",
    r"assist(s|ant|ants|ance)?": "follower, follow",
    r"chores?": "task",
    r"foretells?": "estimate",
    r"outbox|inbox": "sender, receiver",
    r"seam": "encoder and decoder",
    r"floors?": "layer",
    r"(?<![-.\"'=/{`])nets?(?![-\"'.`])": "ControlNet",
    r"trunks?": "ControlNet blocks, features",
    r"stripes?": "chunk",
    r"holdings": "LoRA inventory",
    r"promised?": "reserve",
}
#: Lines that hold one of these texts are left out: other meanings, and names that version 0.1 wrote.
ALLOWED = {
    "infra/cli/images/image_file.py": ['"picture"'],  # a text chunk of the PNG files of version 0.1
    "infra/emoji/LICENSES.md": ["The pictures were resized"],
    "infra/emoji/README.md": ["a picture of a"],  # a prompt of the training data
    "infra/emoji/training/data/subjects.py": ["a picture of a"],
    "infra/emoji/training/models/vae_start.py": ["residual trunk"],
    "infra/emoji/training/stages/tokenizer.py": ["emoji picture photo"],
    "infra/bench/parts/recovery/kill_targets.py": ["net_connections"],  # psutil's
    # words of toy vocabularies, and of Qwen's chat template
    "infra/tiny_models/tokenizers.py": ["photo picture drawing", "user assistant", "|im_start|>assistant"],
    "shared/jobs/legacy_receipt.py": ["assistant"],  # a field of receipts of formats 1 and 2
    "shared/keys.py": ['"pictures/"'],
    "shared/scheduling/lua/held.lua": ["math.floor"],
    "shared/setting_checks/errors.py": ["SWIFT_NET_", "SWIFT_WORKER_NETS"],
    "tests/api/submission/test_replay.py": ["../pictures/x"],
    "tests/api/test_old_versions.py": ["swift:holdings"],
    "tests/infra/cli/test_main.py": ["paint"],  # a command that does not exist
    "tests/infra/cli/test_receipt.py": ['"picture"'],
    "tests/shared/catalog/test_catalog.py": ["line 6: nets:"],
    "tests/shared/jobs/test_record_upgrade.py": ["assistant"],
    "tests/workers/families/flux/test_lora_conversion.py": ["swaps the halves"],
    "tests/workers/families/flux/test_lora_targets.py": ["swapped_halves"],
    "tests/workers/families/unet/test_forward.py": ["the UNet halves"],
    "tests/workers/lora/formats/test_mutated_files.py": ["halves in another order"],
    "tests/workers/lora/test_targets.py": ["halves = FileRows", '"q", halves', "swapped_halves"],
    "workers/families/flux/lora_targets.py": ["swaps_halves"],
    "workers/families/sd3/lora_targets.py": ["swaps_halves"],
    "workers/families/transformer/lora_targets.py": ["swaps_halves", "halves = slice", "FileRows(halves"],
    "tests/workers/unet/maintenance/test_sweep.py": ["pictures/of-somebody-else"],
}
SUFFIXES = {".py", ".lua", ".md", ".toml", ".svg", ".yaml"}
#: Decisions, the changelog and this list quote old words.
EXEMPT = ("infra/adr/", "CHANGELOG.md", "tests/test_wording.py")


class File(NamedTuple):
    """A file, and its words as `words_of` cuts them."""

    path: str
    text: str
    words: str


@cache
def searched_files() -> list[File]:
    """Read once for all patterns."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    paths = [Path(line) for line in listed.splitlines() if not line.startswith(EXEMPT)]
    texts = {path: path.read_text() for path in paths if path.suffix in SUFFIXES or path.name == "Makefile"}
    return [File(str(path), text, words_of(text)) for path, text in texts.items()]


def words_of(text: str) -> str:
    """A text in lower case, names cut into words: ``imageDraw`` and ``image_draw`` are two words."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return re.sub(r"control net", "controlnet", parted.lower())


@pytest.mark.parametrize("pattern", BANNED)
def test_a_banned_word_is_not_used(pattern: str) -> None:
    banned = re.compile(rf"\b({pattern})\b")
    found = []
    for path, text, words in searched_files():
        for match in banned.finditer(words):
            number = words.count("\n", 0, match.start())
            line = text.split("\n")[number]
            if not any(allowed in line for allowed in ALLOWED.get(path, ())):
                found.append(f"{path}:{number + 1}: {match[0]!r} in {line.strip()!r}; say {BANNED[pattern]}")
    assert found == [], "\n".join(found)


def test_every_exception_is_needed() -> None:
    unused = [
        f"{path}: {text}"
        for path, texts in ALLOWED.items()
        for text in texts
        if not Path(path).exists() or text not in Path(path).read_text()
    ]
    assert unused == []
