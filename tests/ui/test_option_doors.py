"""Terminal, REST and panels have no default, bound or explanation of their own: all is as it was declared."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.cli.main import parser
from lib_lora.formats.lora import write_lora
from lib_lora.host.request import GenerateRequest
from lib_lora.i18n.words import LANGUAGES, Words, declared_texts
from lib_lora.merge.extract_spec import ExtractOptions
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.rank_rule import RULES, RuleOptions
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.options import REQUIRED, Option, find, options_of
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.block_plan import PlanOptions
from lib_lora.services.captions import NameRule, TagChange
from lib_lora.services.conversion import ConvertOptions
from lib_lora.services.crops import CropOptions
from lib_lora.services.cutouts import CutoutOptions
from lib_lora.services.finish import FinishOptions
from lib_lora.services.labels import LabelOptions
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.portions import PruneOptions, SplitOptions
from lib_lora.services.tagging import TaggerOptions
from lib_lora.train.options import TrainOptions
from lib_lora.ui import generate, train, workshop
from lib_lora.ui.compat import gr
from lib_lora.ui.option_widget import shown
from lib_lora.web.api.routes import groups
from lib_lora.web.api.serving import schema
from tests.servers import ending

ROOT = Path(__file__).resolve().parents[2]
DECLARED = (
    GenerateRequest,
    AnalyzeOptions,
    FitOptions,
    PlanOptions,
    Ingredient,
    MergeSpec,
    RuleOptions,
    LabelOptions,
    MakeOptions,
    TagChange,
    NameRule,
    TaggerOptions,
    CutoutOptions,
    CropOptions,
    TrainOptions,
    FinishOptions,
    MethodOptions,
    ExtractOptions,
    ConvertOptions,
    PruneOptions,
    SplitOptions,
)
COMMANDS = {
    "generate": (GenerateRequest,),
    "analyze": (GenerateRequest, AnalyzeOptions),
    "fit": (FitOptions,),
    "plan": (PlanOptions,),
    "bake": (Ingredient, MergeSpec),
    "compress": (RuleOptions, MergeSpec),
    "finish": (FinishOptions,),
    "merge": (MethodOptions, MergeSpec),
    "extract": (ExtractOptions,),
    "convert": (ConvertOptions,),
    "prune": (PruneOptions,),
    "split": (SplitOptions,),
    "label": (LabelOptions,),
    "make": (MakeOptions,),
    "tag": (NameRule,),
    "captions": (TagChange, TrainOptions),
    "tagger": (TaggerOptions, TagChange),
    "cutouts": (CutoutOptions, TagChange),
    "crops": (CropOptions, TagChange),
    "train": (TrainOptions,),
}
ROUTES = {
    "/analyze": (GenerateRequest, AnalyzeOptions),
    "/fit": (FitOptions,),
    "/resolve": (GenerateRequest,),
    "/plan": (PlanOptions,),
    "/plan/pictures": (PlanOptions, GenerateRequest),
    "/bake": (MergeSpec, MethodOptions),
    "/extract": (ExtractOptions,),
    "/convert": (ConvertOptions,),
    "/prune": (PruneOptions,),
    "/split": (SplitOptions,),
    "/label": (LabelOptions,),
    "/label-many": (LabelOptions,),
    "/makes": (MakeOptions,),
    "/pictures/look": (TrainOptions,),
    "/pictures/tag": (TrainOptions, TagChange),
    "/pictures/captions": (TrainOptions, TagChange),
    "/pictures/tagger": (TrainOptions, TaggerOptions, TagChange),
    "/pictures/cutouts": (TrainOptions, CutoutOptions, TagChange),
    "/pictures/crops": (TrainOptions, CropOptions, TagChange),
    "/pictures/undo": (TrainOptions,),
    "/train": (TrainOptions,),
    "/train/{name}/finish": (FinishOptions,),
}
OTHER = {("/resolve", "seed"): "draws R and U, and 0 is what a tag shows"}
"""Fields that are called like an option and mean something else."""
OF_THE_MODEL = ("width", "height")
"""Sliders whose range is the loaded model's."""


def known(holders: tuple[type, ...]) -> dict[str, Option]:
    return {one.name: one for holder in holders for one in options_of(holder)}


@pytest.mark.parametrize("holder", DECLARED)
def test_each_option_is_explained_in_both_languages(holder: type) -> None:
    japanese = declared_texts()
    for one in options_of(holder):
        assert one.help.endswith((".", "…")), one.name
        for text in filter(None, (one.label, one.help)):
            assert japanese[text].strip(), text
        assert not japanese[one.help].isascii(), one.help


def test_no_japanese_is_left_over() -> None:
    said = {text for holder in DECLARED for one in options_of(holder) for text in (one.label, one.help)}
    assert set(declared_texts()) == said - {""}


@pytest.mark.parametrize("holder", DECLARED)
def test_a_default_is_within_its_own_bounds(holder: type) -> None:
    for one in options_of(holder):
        if one.default is not REQUIRED:
            assert one.read(one.default) == one.default


# -- the terminal ---------------------------------------------------------------------------------------------------


def flags(command: str) -> dict[str, argparse.Action]:
    subs = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {action.dest: action for action in subs.choices[command]._actions}


@pytest.mark.parametrize(("command", "holders"), COMMANDS.items())
def test_flags_have_no_default_or_bound_of_their_own(command: str, holders: tuple[type, ...]) -> None:
    met = 0
    for name, one in known(holders).items():
        action = flags(command).get(name)
        if action is not None and name != "name":
            met += 1
            assert (action.default, action.type, action.choices) == (None, None, None), name
            assert action.help.startswith(one.help.replace("%", "%%")), name
    assert met >= min(3, len(known(holders)))


def test_no_flag_beside_the_declared_ones_takes_a_number() -> None:
    found = [
        f"{path.name}: {ast.unparse(call.args[0])}"
        for path in (ROOT / "lib_lora" / "cli").glob("*.py")
        for call in calls(path, "add_argument")
        for word in call.keywords
        if word.arg == "type" and ast.unparse(word.value) in ("int", "float")
    ]
    assert found == ["studio.py: '--port'"]


# -- REST -----------------------------------------------------------------------------------------------------------


def test_fields_of_rest_are_the_declared_options(atelier: Atelier) -> None:
    for route in groups(atelier):
        for one in route.options:
            declared = known(ROUTES.get(route.path, ())).get(one.name)
            if declared is None or (route.path, one.name) in OTHER:
                continue
            assert one == declared, f"{route.path} {one.name}"
            row = schema(one)
            assert row.get("default", REQUIRED) == (list(one.default) if one.kind is tuple else one.default)
            assert row.get("minimum", one.low) == one.low
            assert row.get("maximum", one.high) == one.high


# -- the panels -----------------------------------------------------------------------------------------------------


@pytest.fixture
def atelier(studio, lora, tmp_path: Path) -> Iterator[Atelier]:
    folders = Folders.under(tmp_path)
    write_lora(lora, folders.loras / "plain.safetensors")
    before = studio.lora_folders
    studio.lora_folders = (folders.loras,)
    with ending(Atelier(studio, folders)) as made:
        yield made
    studio.lora_folders = before


def widgets(build: Any) -> list[Any]:
    with gr.Blocks() as page:
        build()
    return [block for block in page.blocks.values() if hasattr(block, "elem_id")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_widgets_say_and_hold_what_is_declared(atelier: Atelier, language: str) -> None:
    words = Words(language)
    forms = (
        (lambda: generate.build(atelier, words), "atelier_generate_{}", GenerateRequest, 9),
        (lambda: generate.build(atelier, words), "atelier_generate_analyzer_{}", AnalyzeOptions, 7),
        (lambda: train.build(atelier, words), "atelier_train_{}_option", TrainOptions, 35),
        (lambda: workshop.build(atelier, words), "atelier_workshop_meta_{}", LabelOptions, 8),
        (lambda: train.build(atelier, words), "atelier_train_{}", TagChange, 1),
        (lambda: train.build(atelier, words), "atelier_train_tagger_{}", TaggerOptions, 6),
        (lambda: train.build(atelier, words), "atelier_train_cutout_{}", CutoutOptions, 5),
        (lambda: train.build(atelier, words), "atelier_train_crop_{}", CropOptions, 4),
    )
    for build, ident, holder, least in forms:
        drawn = {block.elem_id: block for block in widgets(build)}
        met = 0
        for one in options_of(holder):
            widget = drawn.get(ident.format(one.name))
            if widget is not None and one.label and not isinstance(widget, gr.Button | gr.HTML | gr.Image):
                met += 1
                check(one, widget, words, usual=holder is not TrainOptions)
        assert met >= least, (ident, met)


def check(one: Option, widget: Any, words: Words, *, usual: bool) -> None:
    assert widget.label == words.said(one.label), one.name
    assert widget.info in (None, words.said(one.help)) or one.name == "also", one.name
    if isinstance(widget, gr.Slider) and one.name not in OF_THE_MODEL:
        low, high = one.offered or (one.low, one.high)
        assert (widget.minimum, widget.step) == (low, one.step), one.name
        assert widget.maximum == high or one.name == "clip_skip"
    if usual and isinstance(widget, gr.Slider | gr.Number | gr.Checkbox) and one.name not in OF_THE_MODEL:
        assert widget.value == shown(one, one.default), one.name
    if isinstance(widget, gr.Dropdown) and one.choices:
        assert [choice[-1] if isinstance(choice, tuple) else choice for choice in widget.choices] == list(one.choices)


def test_a_row_of_merge_starts_as_declared(atelier: Atelier) -> None:
    words = Words("en")
    drawn = widgets(lambda: workshop.build(atelier, words))
    for name in ("strength", "te", "unet", "blocks"):
        one = known((Ingredient,))[name]
        values = {block.value for block in drawn if getattr(block, "label", None) == words.said(one.label)}
        assert values == {one.default}, name
    rules = [block for block in drawn if getattr(block, "label", None) == words("workshop.rule")]
    assert rules
    for rule in rules:
        assert [choice[0] if isinstance(choice, tuple) else choice for choice in rule.choices] == [
            one.label for one in RULES.values()
        ]


def test_sliders_and_numbers_are_drawn_from_declarations() -> None:
    own = {
        "lib_lora/ui/option_widget.py": "draws them",
        "lib_lora/ui/block_weight/analyzer.py": "the two halves of a range",
        "lib_lora/ui/block_weight/accordion.py": "blocks of a LoRA",
        "lib_lora/ui/block_weight/make_weights.py": "blocks of a layout",
    }
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lib_lora" / "ui").rglob("*.py")
        if [*calls(path, "Slider"), *calls(path, "Number")]
    }
    assert found <= set(own)


def calls(path: Path, name: str) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Attribute) and node.func.attr == name]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_box_that_reads_a_number_in_its_own_way_says_so(atelier: Atelier, language: str) -> None:
    words = Words(language)
    label = words.said(find(RuleOptions, "cap").label)
    drawn = [block for block in widgets(lambda: workshop.build(atelier, words)) if getattr(block, "label", "") == label]
    assert words("workshop.cap_info") in [block.info for block in drawn]
