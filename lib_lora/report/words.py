"""The fixed words that a report page adds by itself, in English and Japanese."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Words:
    """One language's words; the fields with braces are format strings."""

    goals_reached: str  # {reached}, {total}
    measure: str
    value: str
    goal: str
    result: str
    reached: str
    missed: str
    contents: str
    no_picture: str
    no_data: str
    block: str
    numbers: str
    footer: str


WORDS = MappingProxyType(
    {
        "en": Words(
            goals_reached="{reached} of {total} goals reached",
            measure="Measure",
            value="Value",
            goal="Goal",
            result="Result",
            reached="reached",
            missed="not reached",
            contents="On this page",
            no_picture="no picture",
            no_data="no data",
            block="Block",
            numbers="Show the numbers",
            footer="Made by LoRA Atelier. This page is one file: it loads nothing from elsewhere.",
        ),
        "ja": Words(
            goals_reached="目標 {total} 件中 {reached} 件を達成",
            measure="項目",
            value="値",
            goal="目標",
            result="結果",
            reached="達成",
            missed="未達",
            contents="目次",
            no_picture="画像なし",
            no_data="データなし",
            block="階層",
            numbers="数値を表示",
            footer="LoRA Atelier が作成。このページは 1 ファイルで完結し、外部からは何も読み込みません。",
        ),
    }
)
