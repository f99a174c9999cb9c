"""``python -m infra.local up``, ``down`` and ``demo``."""

import argparse
import sys

from infra.local.demo.models import MODELS
from infra.local.stack import detach, stop
from infra.local.up import READY_S, up
from shared.errors import SwiftError
from shared.settings import read_settings


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    options = _parser().parse_args()
    try:
        settings = read_settings()
        if options.what == "demo":
            from infra.local.demo.run import demo  # with a plotting library that `up` need not load

            return demo(settings, options.model)
        if options.what == "down":
            home = settings.home.resolve()
            print("The fleet has stopped." if stop(home) else f"No fleet runs in {home}.")
            return 0
        if options.detach:
            print(detach(settings, ready_s=options.ready_within))
            return 0
        return up(settings, ready_s=options.ready_within, quiet=options.quiet, owner=options.owner)
    except SwiftError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local")
    commands = parser.add_subparsers(dest="what", required=True)
    demo_parser = commands.add_parser("demo", help="start the fleet, generate one image, stop it")
    demo_parser.add_argument("--model", choices=list(MODELS), default="emoji-sd")
    up_parser = commands.add_parser("up", help="run the fleet until Ctrl-C or down")
    up_parser.add_argument("--ready-within", type=float, default=READY_S, metavar="SECONDS")
    up_parser.add_argument("--quiet", action="store_true", help="logs go to their files only")
    up_parser.add_argument("--detach", action="store_true", help="return once it is ready; it runs on")
    up_parser.add_argument("--owner", type=int, metavar="PID", help="stop when this process is gone")
    commands.add_parser("down", help="stop the fleet and wait until it has")
    return parser


if __name__ == "__main__":
    sys.exit(main())
