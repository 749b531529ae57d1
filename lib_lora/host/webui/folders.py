"""Where the WebUI keeps things: data, LoRAs, pictures, and what other extensions brought along."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.host.webui.options import confined, host_setting, option

OTHERS_PRESETS = "lbwpresets.txt"


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
        checkpoints: where it keeps them.
    """

    data: Path
    loras: Path
    outputs: Path
    more: tuple[Path, ...] = field(default=())
    confined: bool = False
    address: str = ""
    checkpoints: Path | None = None


def places() -> Places:
    """Return the WebUI's folders; nothing is made here."""
    from modules import paths_internal, shared

    given = shared.cmd_opts
    data_path, models = Path(paths_internal.data_path), Path(paths_internal.models_path)
    usual = Path(getattr(paths_internal, "default_output_dir", data_path / "outputs"))
    outputs = Path(host_setting("outdir_samples", "") or usual)
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
        checkpoints=Path(getattr(given, "ckpt_dir", None) or models / "Stable-diffusion"),
    )


def others_presets() -> tuple[Path, ...]:
    """Return the preset files of other block weight extensions."""
    from modules import paths_internal

    folder = Path(paths_internal.extensions_dir)
    return tuple(sorted(folder.glob(f"*/scripts/{OTHERS_PRESETS}"))) if folder.is_dir() else ()


def other_script(own: Path) -> Path | None:
    """Return another extension's script that has the file name of ``own``, where one is loaded."""
    from modules import scripts

    paths = (Path(entry.path) for entry in scripts.scripts_data)
    return next((path for path in paths if path.name == own.name and path.resolve() != own.resolve()), None)
