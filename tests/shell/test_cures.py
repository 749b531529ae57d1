"""A cure is an order: the error is provoked, what its cure says is done, and that is enough."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.blocks.block_list import parse_blocks
from lib_lora.blocks.elements import ElementFile
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.blocks.tokens import parse_tokens
from lib_lora.cli.main import parser
from lib_lora.data.folder import scan
from lib_lora.data.images import inspect_picture
from lib_lora.errors import AtelierError
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import FIELD_LIMIT, label
from lib_lora.formats.saving import check_target
from lib_lora.host.base import GenerateRequest
from lib_lora.host.limits import check_order
from lib_lora.host.studio import StudioHost
from lib_lora.host.studio.sampling import sampler_name
from lib_lora.i18n.error_words import FOLDER
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec, resolve_blocks
from lib_lora.train import available
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import TrainOptions, check_name, from_mapping
from lib_lora.train.sample_prompts import read_sample, with_files_read

Follow = Callable[[re.Match], object]
SD1 = full_layout("sd1")
PRESETS = PresetFile.shipped()
ROOT = Path(__file__).resolve().parents[2]


def listed(found: re.Match) -> list[str]:
    """Return the names that a cure lists."""
    return re.split(r", | and ", found[1])


def options(**changes) -> TrainOptions:
    return from_mapping({"images": "pictures", "name": "krnk", **changes}, where="options")


def tag(text: str) -> Callable[[], object]:
    return lambda: parse_tag(text)


def each(do: Callable[[str], object]) -> Follow:
    return lambda found: [do(name) for name in listed(found)]


def each_rank(kind: str) -> Follow:
    return lambda found: [RankRule(kind, float(n)) for n in re.findall(r"[\d.]*\d", found[0])]


CASES: dict[str, tuple[Callable[[], object], str, Follow]] = {
    # prompts: what is typed between < and >
    "a tag without an end": (tag("<lora:a:1"), "Write > at its end", lambda _: parse_tag("<lora:a:1>")),
    "no tag": (
        tag("lora"),
        r"begins with (<lora:) or (<lyco:)",
        lambda m: [parse_tag(f"{one}a:1>") for one in m.groups()],
    ),
    "a strength of letters": (
        tag("<lora:a:te=x>"),
        r"a number like ([\d.]+\d)",
        lambda m: parse_tag(f"<lora:a:te={m[1]}>"),
    ),
    "a decimal comma": (tag("<lora:a:te=0,8>"), r"Write a point: (.+)\.", lambda m: parse_tag(f"<lora:a:te={m[1]}>")),
    "a start of 2.0": (
        tag("<lora:a:1:start=2.0>"),
        r"like (\d+), .* like ([\d.]+\d)",
        lambda m: [parse_tag(f"<lora:a:1:start={one}>") for one in m.groups()],
    ),
    "a step without a range": (
        tag("<lora:a:1:step=5>"),
        r"Write (.+), (.+) or (.+)\.",
        lambda m: [parse_tag(f"<lora:a:1:{one}>") for one in m.groups()],
    ),
    "step= and start=": (
        tag("<lora:a:1:step=5-10:start=3>"),
        r"Keep (step=)A-B, or (start=) and (stop=)",
        lambda m: [parse_tag(f"<lora:a:1:{m[1]}5-10>"), parse_tag(f"<lora:a:1:{m[2]}3:{m[3]}9>")],
    ),
    "a range backwards": (
        tag("<lora:a:1:step=9-5>"),
        "smaller number first",
        lambda _: parse_tag("<lora:a:1:step=5-9>"),
    ),
    "weights given twice": (
        tag("<lora:a:1:FACE:lbw=MIDD>"),
        "Keep one of them",
        lambda _: [parse_tag("<lora:a:1:FACE>"), parse_tag("<lora:a:1:lbw=MIDD>")],
    ),
    "an unknown item": (
        tag("<lora:a:1:lbv=MIDD>"),
        r"(?:Known are|Did you mean) (.+)[.?]",
        each(lambda k: parse_tag(f"<lora:a:1:{k.strip('=')}=1>")),
    ),
    "a slip of a preset": (
        lambda: PRESETS.lookup("MIDDL", "sd1"),
        r"Did you mean (.+)\?",
        each(lambda n: PRESETS.lookup(n, "sd1")),
    ),
    "an element preset that nobody has": (
        lambda: ElementFile.shipped().resolve("qqq"),
        r"Known are (.+)\.",
        each(ElementFile.shipped().resolve),
    ),
    "14 weights": (
        lambda: parse_tokens(",".join("1" * 14)),
        r"one value for every block, separated by commas",
        lambda _: [parse_tokens(",".join("1" * n)) for n in (12, 17, 20, 26, 61)],
    ),
    "a weight of letters": (
        lambda: parse_tokens("1,much" + ",1" * 10),
        r"Allowed are numbers, (.+)\.",
        each(lambda kind: parse_tokens(f"1,{kind}" + ",1" * 10)),
    ),
    "half a range of blocks": (lambda: parse_blocks("IN05-", SD1), r"like (\S+)\.", lambda m: parse_blocks(m[1], SD1)),
    "a block of no model": (
        lambda: parse_blocks("IN99", SD1),
        r"(?:Its blocks: |Did you mean:? )(.+)[.?]",
        each(lambda n: parse_blocks(n, SD1)),
    ),
    "other as an end": (
        lambda: parse_blocks("IN05-other", SD1),
        r"Write (other) alone",
        lambda m: parse_blocks(m[1], SD1),
    ),
    # files that are made
    "random weights in a file": (
        lambda: resolve_blocks("1,R" + ",1" * 10, PRESETS, "sdxl"),
        "Write numbers",
        lambda _: resolve_blocks("1,0.5" + ",1" * 10, PRESETS, "sdxl"),
    ),
    "weights of another family": (
        lambda: resolve_blocks(",".join("1" * 12), PRESETS, "sd1"),
        r"a vector of (\d+) or (\d+) values",
        lambda m: [resolve_blocks(",".join("1" * int(n)), PRESETS, "sd1") for n in m.groups()],
    ),
    "a sum of nothing": (
        lambda: MergeSpec(()),
        "at least one LoRA",
        lambda _: MergeSpec((Ingredient(Path("a.safetensors")),)),
    ),
    "half a rank": (lambda: RankRule("rank", 2.5), r"from .* to .*", each_rank("rank")),
    "a ratio of 1": (lambda: RankRule("sv_ratio", 1), r"from .* to .*", each_rank("sv_ratio")),
    "a share of 2": (lambda: RankRule("energy", 2), r"from .* to .*", each_rank("energy")),
    "a rule that is none": (
        lambda: RankRule("best", 1),
        r"Use one of (.+)\.",
        each(lambda kind: RankRule(kind, 1 if kind != "sv_ratio" else 2)),
    ),
    "an unknown field": (
        lambda: label({}, {"titel": "a"}),
        r"Fields are: (.+)\.",
        each(lambda name: label({}, {name: "a"})),
    ),
    "a text that is too long": (
        lambda: label({}, {"title": "a" * (FIELD_LIMIT + 1)}),
        r"Keep it below (\d+)",
        lambda m: label({}, {"title": "a" * (int(m[1]) - 1)}),
    ),
    # pictures that are ordered
    "an unknown sampler": (lambda: sampler_name("best"), r"Choose one of: (.+)\.", each(sampler_name)),
    "100,000 steps": (
        lambda: GenerateRequest("", steps=100_000),
        r"from (\d+) to (\d+)",
        lambda m: [GenerateRequest("", steps=int(n)) for n in m.groups()],
    ),
    "a million pictures": (
        lambda: check_order(GenerateRequest("", steps=20), 10**6, native_side=1024),
        r"At most (\d+) pictures",
        lambda m: check_order(GenerateRequest("", steps=20), int(m[1]), native_side=1024),
    ),
    # trainings
    "an option with a slip": (
        lambda: options(batch_siz=2),
        r"Did you mean: ([^,?]+)",
        lambda m: options(**{m[1]: 2}),
    ),
    "no name": (lambda: options(name=""), "Give it a value", lambda _: options(name="krnk")),
    "a name with a colon": (
        lambda: check_name(" a:b "),
        r"Leave out (.+), a dot or space at either end",
        lambda m: check_name("".join(c for c in " a:b " if c not in m[1] and c != " ")),
    ),
    "nothing to train": (
        lambda: options(unet_ratio=0, text_encoder_ratio=0),
        "Set one above 0",
        lambda _: [options(unet_ratio=1, text_encoder_ratio=0), options(unet_ratio=0, text_encoder_ratio=1)],
    ),
    "a batch of 0": (
        lambda: options(batch_size=0),
        r"from (\S+) to (\S+)\.",
        lambda m: [options(batch_size=int(float(one))) for one in m.groups()],
    ),
    "an unknown scheduler": (
        lambda: options(scheduler="best"),
        r"Choose one of: (.+)\.",
        each(lambda n: options(scheduler=n)),
    ),
    "a value that is not auto": (
        lambda: options(min_snr_gamma="much"),
        r"a number, or (auto)",
        lambda m: options(min_snr_gamma=m[1]),
    ),
    "a flag of no sample": (
        lambda: read_sample("girl --q 1"),
        r"Known are (.+)\.",
        each(lambda flag: read_sample(f"girl {flag} 8")),
    ),
    "a width of letters": (
        lambda: read_sample("girl --w x"),
        r"from (\d+) to (\d+)",
        lambda m: [read_sample(f"girl --w {n}") for n in m.groups()],
    ),
}


def cure_of(wrong: Callable[[], object]) -> str:
    with pytest.raises(AtelierError) as told:
        wrong()
    return told.value.cure


def followed(wrong: Callable[[], object], cure: str, follow: Follow) -> None:
    said = cure_of(wrong)
    found = re.search(cure, said)
    assert found, said
    follow(found)


@pytest.mark.parametrize("name", CASES)
def test_a_cure_is_enough(name) -> None:
    followed(*CASES[name])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizers_wrong_rate_has_a_right_one(optimizer) -> None:
    known = OPTIMIZERS[optimizer]
    wrong = 1e-4 if known.automatic else 5 * known.highest_rate
    rate = re.search(
        r"[Uu]se (?:about )?([\d.e-]+\d)", cure_of(lambda: options(optimizer=optimizer, learning_rate=wrong))
    )
    assert options(optimizer=optimizer, learning_rate=float(rate[1])).learning_rate == float(rate[1])


def test_adamw_stands_in_for_an_optimizer_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setattr(available, "is_available", lambda name: name == "AdamW")
    cure = cure_of(lambda: available.check_optimizer("Prodigy"))
    found = re.search(r"Choose (\w+) \(learning rate ([\d.e-]+)\)", cure)
    available.check_optimizer(found[1])
    assert options(optimizer=found[1], learning_rate=float(found[2])).optimizer == "AdamW"


# -- cures that ask for a file ---------------------------------------------------------------------------------------


def test_a_lora_that_nobody_has_is_put_where_the_error_says(studio, tmp_path) -> None:
    empty = StudioHost(studio.model, (tmp_path,), studio.presets)
    with pytest.raises(AtelierError) as told:
        empty.find_lora("nobody")
    assert told.value.cure == "Put the file into this folder, or correct the name."
    (Path(told.value.where) / "nobody.safetensors").write_bytes(b"")
    empty.loras_changed()
    assert empty.find_lora("nobody").is_file()
    with pytest.raises(AtelierError) as told:
        StudioHost(studio.model, (), studio.presets).find_lora("nobody")
    assert flags()[told.value.option] == {"--lora-dir"}


def test_a_file_that_is_there_is_kept_or_replaced(tmp_path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"")
    assert cure_of(lambda: check_target(target, overwrite=False)) == "Choose another name, or allow overwriting."
    check_target(target, overwrite=True)
    check_target(tmp_path / "b.safetensors", overwrite=False)


def test_pictures_are_found_where_the_cure_asks_for_them(tmp_path) -> None:
    named = re.search(r"of (\w+), (\w+) or (\w+) files, .* like (\w+)\.", cure_of(lambda: scan(tmp_path)))
    (tmp_path / named[4]).mkdir()
    for kind in named.groups()[:3]:
        Image.new("RGB", (512, 512), kind and "#804020").save(tmp_path / named[4] / f"{kind}.{kind.lower()}")
    assert len(scan(tmp_path).train) == 3


def test_a_picture_that_is_too_large_is_made_smaller(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (200, 90)).save(path)
    assert cure_of(lambda: inspect_picture(path, max_pixels=10_000)) == "Make it smaller."
    Image.new("1", (90, 60)).save(path)
    assert inspect_picture(path, max_pixels=10_000)


def test_a_preset_file_keeps_one_preset(tmp_path) -> None:
    path = tmp_path / "presets.txt"
    assert cure_of(lambda: PresetFile.parse("# none").save(path)) == "Write at least one preset."
    PresetFile.parse("HALF:" + ",".join(["0.5"] * 12)).save(path)
    form = re.search(r"Write (NAME):values", PresetFile.parse("nothing").problems[0].cure)[1]
    PresetFile.parse(f"{form}:" + ",".join("1" * 12)).save(path)


def test_an_element_preset_in_the_form_of_the_cure(tmp_path) -> None:
    (problem,) = ElementFile.parse("DEEP:IN05").problems
    form = re.search(r"like (\S+)\.", problem.cure)[1]
    assert not ElementFile.parse(f"DEEP:{form}").problems


def test_sample_prompts_that_are_no_list_become_lines(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    ending = re.search(r"a line into a (\.\w+) file", cure_of(lambda: with_files_read(["a.json"], tmp_path)))[1]
    (tmp_path / f"a{ending}").write_text("one girl --w 512\n", encoding="utf-8")
    assert with_files_read([f"a{ending}"], tmp_path) == ("one girl --w 512",)
    with pytest.raises(AtelierError, match="the terminal takes a file") as told:
        read_sample("a.txt")
    (flag,) = flags()[told.value.option]
    assert parser().parse_args(["train", flag, "a.txt"]).sample_prompts == ["a.txt"]


def test_a_file_of_unknown_numbers(tmp_path) -> None:
    head = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0")
    numbers = re.search(r"Use an (\w+) file", cure_of(lambda: read_header(path)))[1]
    head = json.dumps({"a": {"dtype": {"fp16": "F16"}[numbers], "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 4)
    assert read_header(path).tensors


# -- what a cure names is there --------------------------------------------------------------------------------------


def cures() -> Iterator[tuple[str, str]]:
    """Yield every cure of the core in English and Japanese."""
    yield from json.loads((FOLDER / "cures.json").read_text(encoding="utf-8")).items()


def flags() -> dict[str, set[str]]:
    """Return the flags of every option of the terminal, by the option's name."""
    (commands,) = (one for one in parser()._actions if one.dest == "command")
    found: dict[str, set[str]] = {}
    for command in commands.choices.values():
        for name, flag in command.get_default("flags").items():
            found.setdefault(name, set()).add(flag)
    return found


def test_every_option_that_an_error_is_about_has_a_flag() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "lib_lora").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"\boption=[^,\n)]*\"(\w+)\"", text)}
    assert named >= {"overwrite", "lora_dir", "model", "tokenizer", "data", "sample_prompts"}
    assert named - flags().keys() == set()


def test_every_route_that_a_cure_names_is_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib_lora/web/api").glob("*.py"))
    routes = {route for text, _ in cures() for route in re.findall(r"GET /lora-atelier/v1(/\w+)", text)}
    assert len(routes) >= 3
    assert [route for route in routes if f'Route("GET", "{route}"' not in sources] == []


def test_every_button_that_a_cure_quotes_is_one() -> None:
    panels = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "lib_lora/i18n/texts").glob("*.json")]
    labels = {language: {text[language] for panel in panels for text in panel.values()} for language in ("en", "ja")}
    options = json.loads((ROOT / "lib_lora/i18n/options.ja.json").read_text(encoding="utf-8"))
    labels["en"] |= options.keys()  # an option's label stands on its field
    labels["ja"] |= set(options.values())
    quoted = [name for text, _ in cures() for name in re.findall("“([^”{]+)”", text)]
    assert [name for name in quoted if name not in labels["en"]] == []
    forms = [name for _, text in cures() for name in re.findall("「([^」{]+)」", text)]
    assert [name for name in forms if name not in labels["ja"] and ":" not in name] == []
