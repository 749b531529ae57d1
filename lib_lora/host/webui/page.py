"""What the panels must know of the WebUI that they stand in: language, folders, options, other extensions' presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora.host.webui.access import confined

SECTION = ("lora_atelier", "LoRA Atelier")
PREFIX = "lora_atelier_"
OTHERS_PRESETS = "lbwpresets.txt"


@dataclass(frozen=True)
class Setting:
    """One line of our section on the WebUI's settings page.

    The type of ``default`` never changes once it was released: the WebUI refuses saved values of another type.

    Attributes:
        key: without our prefix.
        choices: what can be chosen; empty for a text or a number.
        most: largest number of a slider.
        info: stands in grey behind the label.
        after: what a change needs: "reload" of the page, or a "restart".
        folder: hidden where the WebUI hides folders, and never set over its API.
    """

    key: str
    default: str | int
    label: str
    choices: Sequence[str] = ()
    most: int = 0
    info: str = ""
    after: str = ""
    folder: bool = False


@dataclass(frozen=True)
class Places:
    """Where the WebUI keeps things.

    Attributes:
        data: ours, in the WebUI's data folder.
        loras: where new LoRAs are written.
        outputs: where pictures of ours are saved.
        more: further folders of the WebUI that panels may read.
        confined: others can reach the page, and the WebUI does not trust them with its files.
        address: what stands before all its addresses in a browser (``--subpath``), "" or with a slash in front.
    """

    data: Path
    loras: Path
    outputs: Path
    more: tuple[Path, ...] = field(default=())
    confined: bool = False
    address: str = ""


def option(key: str, default: Any) -> Any:
    """Return one of our settings by its key without the prefix; ``default`` where it is missing or of another type."""
    from modules import shared

    value = getattr(shared.opts, PREFIX + key, default)
    return value if isinstance(value, type(default)) else default


def localization() -> str:
    """Return the name of the WebUI's localization file, "None" where it speaks English."""
    from modules import shared

    return str(getattr(shared.opts, "localization", "") or "None")


def clip_skip() -> int:
    """Return how many of the text encoder's last layers the WebUI leaves out, counted as the WebUI does: 1 is none."""
    from modules import shared

    value = getattr(shared.opts, "CLIP_stop_at_last_layers", 1)
    return value if isinstance(value, int) and value >= 1 else 1


def places() -> Places:
    """Return the WebUI's folders; nothing is made here."""
    from modules import paths_internal, shared

    given = shared.cmd_opts
    data_path, models = Path(paths_internal.data_path), Path(paths_internal.models_path)
    usual = Path(getattr(paths_internal, "default_output_dir", data_path / "outputs"))
    outputs = Path(getattr(shared.opts, "outdir_samples", "") or usual)
    host_loras = Path(getattr(given, "lora_dir", None) or models / "Lora")
    hidden = bool(getattr(given, "hide_ui_dir_config", False))
    below = (getattr(given, "subpath", None) or "").strip("/")
    own, loras = ("", "") if hidden else (option("data_dir", ""), option("lora_dir", ""))
    return Places(
        data=Path(own.strip() or data_path / "lora-atelier").expanduser(),
        loras=Path(loras.strip() or host_loras).expanduser(),
        outputs=(outputs if outputs.is_absolute() else data_path / outputs) / "lora-atelier",
        more=(models, host_loras, outputs),
        confined=confined(),
        address=f"/{below}" if below else "",
    )


def others_presets() -> tuple[Path, ...]:
    """Return the preset files of other block weight extensions."""
    from modules import paths_internal

    folder = Path(paths_internal.extensions_dir)
    return tuple(sorted(folder.glob(f"*/scripts/{OTHERS_PRESETS}"))) if folder.is_dir() else ()


def running_order() -> tuple[Any, str]:
    """Return the page that is served (gradio Blocks, or None) and the name of the task that is being rendered."""
    from modules import shared

    return getattr(shared, "demo", None), str(getattr(shared.state, "job", "") or "")


def other_script(own: Path) -> Path | None:
    """Return another extension's script that has the file name of ``own``, where one is loaded."""
    from modules import scripts

    paths = (Path(entry.path) for entry in scripts.scripts_data)
    return next((path for path in paths if path.name == own.name and path.resolve() != own.resolve()), None)


def add_settings(settings: Sequence[Setting], *, radio: type, slider: type) -> None:
    """Put our section on the settings page; called from ``on_ui_settings``.

    Args:
        settings: its lines.
        radio: the class of the widget for a choice; the WebUI takes classes.
        slider: the class of the widget for a number.
    """
    from modules import shared

    hidden = bool(getattr(shared.cmd_opts, "hide_ui_dir_config", False))
    for one in settings:
        widget, more = None, {}
        if one.choices:
            widget, more = radio, {"choices": list(one.choices)}
        elif one.most:
            widget, more = slider, {"minimum": 0, "maximum": one.most, "step": 1}
        if one.folder:
            more["visible"] = not hidden
        info = shared.OptionInfo(
            one.default,
            one.label,
            widget,
            more or None,
            section=SECTION,
            **_heading(),
            **({"restrict_api": True} if one.folder else {}),
        )
        if one.info:
            info.info(one.info)
        if one.after:
            {"reload": info.needs_reload_ui, "restart": info.needs_restart}[one.after]()
        shared.opts.add_option(PREFIX + one.key, info)


def _heading() -> dict[str, str]:
    """Return what puts our section under a heading of our name; hosts before A1111 1.8 have no headings."""
    from modules import options

    headings = getattr(options, "categories", None)
    if headings is None:
        return {}
    headings.register_category(*SECTION)
    return {"category_id": SECTION[0]}
