"""docs/files.md says what can be done with every kind of file; each of its cells is tried with a library's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_lora.errors import AtelierError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.forms import FORMS
from lib_lora.formats.inspection import inspection
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.merge.bake import bake
from lib_lora.merge.compress import compress
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.sum import Summand, add
from lib_lora.services.conversion import ConvertOptions, write
from tests.formats.test_library_cases import CASES, adapter_of, check, put

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
WORKS, RECOMPUTED, REFUSED = "yes", "recomputed", "no"


def table(heading: str) -> dict[str, dict[str, str]]:
    """Return a table of the page: by its first column, then by its heads, the first word of each cell."""
    lines = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    return {row[0]: {name: cell.split(",")[0] for name, cell in zip(head[1:], row[1:], strict=True)} for row in rows}


FORM_TABLE, WORK_TABLE = table("Kinds in each form"), table("Kinds and what is done with them")


def row_of(name: str) -> str:
    """Return the row of the tables that a library's case belongs to."""
    library, _, case = name.partition(": ")
    words = case.split()
    if words[0] == "dora":
        inner = "LoRA" if words[1] not in ("loha", "lokr") else "LoHa or LoKr"
        along = "inputs" if "in" in words else "outputs"
        return f"DoRA of a {inner}, a length for {along}" if inner == "LoRA" else f"DoRA of a {inner}"
    if case.startswith("lora bias"):
        return "LoRA with a bias"
    if case == "locon tucker":
        return "LoCon with a Tucker core"
    if words[0] == "oft":
        return {"v2": "OFT v2 (PEFT)", "old": "Diag-OFT of 2023"}.get(
            words[-1] if len(words) < 2 else words[1], "Diag-OFT"
        )
    if words[0] == "boft":
        return "BOFT (PEFT)" if library == "peft" else "BOFT"
    return {
        "lora": "LoRA, LoCon, DyLoRA",
        "locon": "LoRA, LoCon, DyLoRA",
        "dylora": "LoRA, LoCon, DyLoRA",
        "loha": "LoHa",
        "lokr": "LoKr",
        "full": "full difference with a bias",
        "norm": "norm",
        "ia3": "IA3",
        "glora": "GLoRA",
        "tlora": "T-LoRA",
        "sparse": "LoRA with a sparse bias",
    }[words[0]]


def tried(work: Callable[[], Any]) -> tuple[Any, AtelierError | None]:
    """Return what a work gives, or why it is refused."""
    try:
        return work(), None
    except AtelierError as error:
        return None, error


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_a_form_holds_what_the_page_says(tmp_path: Path, name: str, form: str) -> None:
    source, said = put(tmp_path / "a", name), FORM_TABLE[row_of(name)][form]
    (tmp_path / "b").mkdir()
    done, error = tried(lambda: write(source, ConvertOptions(form), tmp_path / "b" / "y.safetensors"))
    assert (error is not None) == (said == REFUSED)
    if error is not None:
        assert error.cure
        return
    made, saved = done
    check(adapter_of(saved), CASES[name][0])
    assert said == RECOMPUTED or made.largest == 0


@pytest.mark.parametrize("name", CASES)
def test_what_is_done_with_a_kind_is_what_the_page_says(tmp_path: Path, name: str) -> None:
    source, said = put(tmp_path / "a", name), WORK_TABLE[row_of(name)]
    lora, weight = read_lora(source), CASES[name][0]["base.weight"]
    (adapter,) = lora.adapters.values()
    assert inspection(source)["not_applied"] == []
    works: dict[str, tuple[float, Callable[[], Any]]] = {
        "bake at 1": (1.0, lambda: bake(lora, dict.fromkeys(lora.blocks(), 1.0))),
        "bake at 0.5": (0.5, lambda: bake(lora, dict.fromkeys(lora.blocks(), 0.5))),
        "sum": (1.0, lambda: add([Summand(lora, dict.fromkeys(lora.blocks(), 0.5))] * 2)),
        "compress": (0.0, lambda: compress(lora, RankRule("rank", 1))),
    }
    assert list(said) == list(works)
    for what, (q, work) in works.items():
        made, error = tried(work)
        assert (error is not None) == (said[what] == REFUSED), what
        if error is not None:
            assert error.cure
            continue
        (new,) = read_lora(write_lora(made[0], tmp_path / f"{what}.safetensors")).adapters.values()
        assert said[what] == RECOMPUTED or _weight_kind(new) is _weight_kind(adapter), what
        if q:
            got, wanted = (one.delta(weight).reshape(weight.shape) for one in (new, adapter))
            torch.testing.assert_close(got, q * wanted, atol=2e-4, rtol=1e-3)  # some libraries save fp16


def _weight_kind(adapter: Adapter) -> type:
    """Return the class of what changes the weight."""
    return type(adapter.weight_part or adapter)


def test_the_page_has_a_row_for_every_kind_and_a_column_for_every_form() -> None:
    rows = {row_of(name) for name in CASES}
    assert set(FORM_TABLE) == set(WORK_TABLE) == rows
    assert all(list(row) == list(FORMS) for row in FORM_TABLE.values())
