import io

from rich.console import Console

from infra.local.plan import Process
from infra.local.start_display import StartDisplay, describe_stack
from infra.local.supervision.terminal import Terminal
from shared.settings import Settings

PROCESSES = [
    Process(name="redis", command=[], is_server=True),
    Process(name="unet1", command=[], worker="unet", device="cuda:0"),
    Process(name="unet2", command=[], worker="unet"),
    Process(name="controlnet1", command=[], worker="controlnet"),
]


def test_the_first_worker_of_each_role_is_announced_once() -> None:
    output = io.StringIO()
    terminal = Terminal(output)
    display = StartDisplay(terminal, PROCESSES)
    for missing in ("unet1", "unet2", "controlnet1"), ("unet2", "controlnet1"), ("controlnet1",), ():
        display.update(dict.fromkeys(missing, "it has not reported itself"))
    display.end()
    unet, controlnet = output.getvalue().splitlines()
    assert unet.startswith("First UNet worker is ready after ")
    assert unet.endswith(" s: unet1 (cuda:0)")
    assert controlnet.startswith("First ControlNet worker")


def test_the_addresses_name_every_server_and_the_login_on_whole_lines() -> None:
    console = Console(file=io.StringIO(), width=1000)
    settings = Settings(s3_endpoint_url="http://127.0.0.1:8333")
    with console.capture() as shown:
        console.print(describe_stack(settings, ("swift", "secret"), PROCESSES))
    lines = [line.split("  ")[0] for line in shown.get().splitlines()]
    names = ["API", "console", "API reference", "Flower", "S3 endpoint", "workers", "credentials", "logs"]
    assert lines == names
    for text in (
        settings.api_url + "/docs",
        settings.flower_url,
        "user swift, password secret",
        "8333",
        "unet1 (cuda:0), unet2",
    ):
        assert text in shown.get()


def test_the_addresses_say_whether_the_api_asks_for_keys() -> None:
    shown = []
    for settings in (Settings(), Settings(auth="keys")):
        console = Console(file=io.StringIO(), width=1000)
        with console.capture() as captured:
            console.print(describe_stack(settings, ("swift", "secret"), PROCESSES))
        shown.append(captured.get().splitlines()[0].rstrip())
    assert shown[0].endswith("open to whoever reaches it; SWIFT_AUTH=keys asks for API keys")
    assert shown[1].endswith(f"API key: {Settings().home / 'bootstrap-key'}")
