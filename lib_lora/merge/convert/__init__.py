"""Converting: the same LoRA in another program's names, form and precision."""

from lib_lora.merge.convert.convert import Converted, convert
from lib_lora.merge.convert.recast import recast

__all__ = ["Converted", "convert", "recast"]
