"""``swiftdiffusion receipt IMAGE.png``: what decided the pixels, as JSON."""

import argparse
import json

from infra.cli.pictures import picture_argument, read_picture
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `infra.cli.__main__.Command`."""
    picture_argument(parser)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """See `infra.cli.__main__.Command`."""
    print(json.dumps(read_picture(options.picture).receipt, indent=2))
    return 0
