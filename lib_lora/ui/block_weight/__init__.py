"""The accordion *LoRA Block Weight*: `build` it beside a prompt, in the studio or in a WebUI's txt2img."""

from lib_lora.services.file_facts import lora_path
from lib_lora.services.presets import load_presets
from lib_lora.ui.block_weight.accordion import BlockWeightPanel, build, draw, wire
from lib_lora.ui.block_weight.analyzer import AnalyzerPanel

__all__ = ["AnalyzerPanel", "BlockWeightPanel", "build", "draw", "load_presets", "lora_path", "wire"]
