"""`autotrack doctor`: is the store healthy, and is everything in place to record?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from autotrack.cli.context import MISTAKE, say, store_path
from autotrack.cli.output import json_text
from autotrack.cli.screen import Screen
from autotrack.guard import reason
from autotrack.plugins import entry_points, load, normal, version_of


class Check(NamedTuple):
    """One thing looked at: state is "ok", "note" (worth knowing), or "wrong"."""

    section: str
    name: str
    state: str
    text: str


_SHOWN = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def command(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Check versions, store, GPUs, integrations and the boot hook; exit code 1 when something is wrong."""
    given = ctx.find_root().params.get("store") is not None
    checks = list(_all(store_path(ctx), given))
    healthy = all(check.state != "wrong" for check in checks)
    if as_json:
        say(json_text({"healthy": healthy, "checks": [check._asdict() for check in checks]}))
    else:
        _show(checks, healthy)
    if not healthy:
        raise typer.Exit(MISTAKE)


def _all(root: Path, given: bool) -> Iterator[Check]:
    from autotrack.cli.store_checks import store_checks

    yield from _versions()
    for name, state, text in store_checks(root, given):
        yield Check("Store", name, state, text)
    yield from _boot_hook()
    yield from _gpus()
    yield from _integrations()


def _show(checks: list[Check], healthy: bool) -> None:
    screen = Screen()
    for section in dict.fromkeys(check.section for check in checks):
        here = [check for check in checks if check.section == section]
        if section != checks[0].section:
            screen.line()
        screen.line((section, "bold"))
        for check in here:
            word, style = _SHOWN[check.state]
            screen.wrapped(
                [("  ", ""), (word.ljust(5), style), (f"  {check.name}: ", "")], check.text, hang=11
            )
    screen.line()
    wrong = sum(check.state == "wrong" for check in checks)
    verdict = (
        "Everything is in order." if healthy else f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong."
    )
    screen.line((verdict, "green" if healthy else "bold red"))


def _versions() -> Iterator[Check]:
    import platform

    from autotrack import __version__

    yield Check("Versions", "autotrack", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Check("Versions", "Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in (
        "orjson",
        "numpy",
        "SQLAlchemy",
        "zstandard",
        "psutil",
        "nvidia-ml-py",
        "packaging",
        "typer",
        "rich",
    ):
        version = version_of(name)
        yield Check(
            "Versions", name, "ok" if version else "wrong", version or f"not installed; pip install {name}"
        )


def _boot_hook() -> Iterator[Check]:
    from autotrack.cli.launch import hook_folders

    folders = hook_folders()
    found = [folder for folder in folders if (Path(folder) / "autotrack.pth").is_file()]
    if found:
        yield Check(
            "Boot hook", "autotrack.pth", "ok", f"{found[0]} (it does nothing without `autotrack run`)"
        )
        return
    text = (
        f"in none of {', '.join(sorted(set(folders)))}; `autotrack run` records nothing in this Python. "
        "Install autotrack-ml with pip into its environment."
    )
    yield Check("Boot hook", "autotrack.pth", "wrong", text)


def _gpus() -> Iterator[Check]:
    names, why = reason(_gpu_names)
    if why is not None:
        yield Check("GPUs", "NVIDIA", "ok", f"none visible ({why})")
        return
    for place, name in enumerate(names or []):
        yield Check("GPUs", f"GPU {place}", "ok", name)
    if not names:
        yield Check("GPUs", "NVIDIA", "ok", "the driver is there and shows no GPU")


def _gpu_names() -> list[str]:
    import pynvml

    pynvml.nvmlInit()
    try:
        names = []
        for place in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(place)
            name = pynvml.nvmlDeviceGetName(device)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device).total / 2**30
            names.append(f"{name.decode() if isinstance(name, bytes) else name}, {memory:.0f} GiB")
        return names
    finally:
        pynvml.nvmlShutdown()


def _integrations() -> Iterator[Check]:
    from autotrack.integration import GROUP, switched_off

    found = entry_points(GROUP)
    if not found:
        yield Check(
            "Integrations",
            "all",
            "wrong",
            f"none found in the entry point group {GROUP}; install autotrack-ml again",
        )
    for name, value in sorted(found.items()):
        if switched_off(name):
            yield Check("Integrations", name, "note", "switched off by AUTOTRACK_DISABLE_INTEGRATIONS")
            continue
        made, why = reason(load, value)
        if why is not None:
            yield Check("Integrations", name, "wrong", f"{value} cannot be loaded: {why}")
        else:
            yield Check("Integrations", name, *_framework(dict(getattr(made, "supports", {}))))


def _framework(supports: dict[str, str]) -> tuple[str, str]:
    """State and text: which distributions of an integration are installed, in the tested range or not."""
    from packaging.specifiers import SpecifierSet

    texts, state = [], "ok"
    for distribution, specifier in supports.items():
        version = version_of(distribution)
        if version is None:
            continue
        if SpecifierSet(specifier).contains(version, prereleases=True):
            texts.append(f"{normal(distribution)} {version}, in the tested range {specifier}")
        else:
            state = "note"
            texts.append(
                f"{normal(distribution)} {version} is outside the tested range {specifier}: not recorded"
            )
    if texts:
        return state, "; ".join(texts)
    if supports:
        return "ok", f"{' and '.join(map(normal, supports))} not installed; nothing to record"
    return "ok", "always there"
