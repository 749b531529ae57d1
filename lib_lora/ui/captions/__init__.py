"""The caption editor below the pictures of a training: gallery, tags, regular expressions, what is odd, undo."""

from lib_lora.ui.captions.editor import CaptionTools, no_name_says
from lib_lora.ui.captions.panel import Around, CaptionWidgets, build, wire

__all__ = ["Around", "CaptionTools", "CaptionWidgets", "build", "no_name_says", "wire"]
