"""Our section on the WebUI's settings page. Labels are English literals; the WebUI translates them (ja_JP.json)."""

from __future__ import annotations

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.host.webui import options
from lib_lora.host.webui.options import Setting
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.options import find
from lib_lora.ui.compat import gr

THRESHOLD = find(AnalyzeOptions, "threshold")
STOP, GO_ON = "Stop before rendering", "Render without that LoRA"
AS_WEBUI, ENGLISH, JAPANESE = "As the WebUI", "English", "日本語"

SETTINGS = (
    Setting(
        "on_error",
        GO_ON,
        "When the block weights of a LoRA tag cannot be right",
        choices=(GO_ON, STOP),
        info="either way the reason stands below the picture",
    ),
    Setting("language", AS_WEBUI, "Language of LoRA Atelier", choices=(AS_WEBUI, ENGLISH, JAPANESE), after="reload"),
    Setting(
        "threshold",
        THRESHOLD.default,
        "Analyzer: smallest difference of a color value that counts as a change",
        most=int(THRESHOLD.high),
        after="reload",
    ),
    Setting(
        "data_dir",
        "",
        "Folder for presets, training runs and pictures of LoRA Atelier",
        info="empty: lora-atelier in the WebUI's data folder",
        after="restart",
        folder=True,
    ),
    Setting(
        "lora_dir",
        "",
        "Folder for LoRA files that LoRA Atelier makes",
        info="empty: the WebUI's own LoRA folder; the WebUI lists only what lies in there",
        after="restart",
        folder=True,
    ),
)


def add_settings() -> None:
    """Put the section on the settings page."""
    options.add_settings(SETTINGS, radio=gr.Radio, slider=gr.Slider)


def words() -> Words:
    """Return the panels' words: in the language of our setting, else in that of the WebUI's localization file."""
    chosen = {ENGLISH: LANGUAGES[0], JAPANESE: LANGUAGES[1]}.get(options.option("language", AS_WEBUI))
    return Words(chosen or ("ja" if options.localization().lower().startswith("ja") else LANGUAGES[0]))
