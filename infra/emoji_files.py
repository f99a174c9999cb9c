"""Where files of the embedded model are; a module of its own, so that a bare machine can import it."""

from shared.settings import ROOT

EMOJI = ROOT / "infra" / "emoji"
CONTROL = EMOJI / "control" / "1_red_car.png"
LORA = EMOJI / "loras" / "twemoji.safetensors"
