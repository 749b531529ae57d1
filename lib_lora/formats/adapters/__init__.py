"""Adapters: one file for each kind of change that a LoRA file can hold; a new kind is a file and a line here."""

from __future__ import annotations

from lib_lora.formats.adapters.base import Adapter, Factors
from lib_lora.formats.adapters.bias import BiasAdapter
from lib_lora.formats.adapters.boft import BoftAdapter
from lib_lora.formats.adapters.boft_peft import PeftBoftAdapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.full import FullAdapter
from lib_lora.formats.adapters.glora import GloraAdapter
from lib_lora.formats.adapters.ia3 import Ia3Adapter
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lokr import LokrAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.adapters.norm import NormAdapter
from lib_lora.formats.adapters.oft import OftAdapter
from lib_lora.formats.adapters.oft_diag import OldOftAdapter
from lib_lora.formats.adapters.oft_v2 import OftV2Adapter
from lib_lora.formats.adapters.registry import read_adapter, register
from lib_lora.formats.adapters.sparse import SparseAdapter
from lib_lora.formats.adapters.tlora import TloraAdapter
from lib_lora.formats.adapters.whole import WholeAdapter

__all__ = [
    "Adapter",
    "BiasAdapter",
    "Factors",
    "FullAdapter",
    "LohaAdapter",
    "LokrAdapter",
    "LoraAdapter",
    "NormAdapter",
    "read_adapter",
    "register",
]

for _kind in (
    BiasAdapter,
    DoraAdapter,
    SparseAdapter,
    LoraAdapter,
    LohaAdapter,
    LokrAdapter,
    BoftAdapter,
    PeftBoftAdapter,
    OftAdapter,
    OldOftAdapter,
    OftV2Adapter,
    GloraAdapter,
    TloraAdapter,
    Ia3Adapter,
    FullAdapter,
    WholeAdapter,
    NormAdapter,
):
    register(_kind)
