"""The entries in scripts/ and the page that they build: loaded the host's way, with fakes of the host around them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_lora.errors import InputError
from lib_lora.host.webui import folders, options
from lib_lora.host.webui.prompt.activator import stops_on_error
from lib_lora.i18n.words import Words
from lib_lora.services.jobs.folder_lock import hold
from lib_lora.ui.compat import gr
from lib_lora.ui.webui import accordion, callbacks, settings, singletons, tabs
from lib_lora.ui.webui.host_page import FIELDS, HostPage
from tests.webui.fakes.a1111 import A1111

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
ENTRY = ROOT / "scripts" / "lora_block_weight.py"
PRESSED_BY_KEYS = ("_generate", "_skip", "_interrupt")  # the host's keyboard shortcuts press what ends so


@pytest.fixture
def host(a1111: A1111, monkeypatch: pytest.MonkeyPatch) -> A1111:
    """A fake A1111, and a process that has no Atelier yet."""
    monkeypatch.setattr(singletons, "_ONE", {})
    a1111.scripts_data.append(SimpleNamespace(path=str(ENTRY)))
    return a1111


def load(path: Path) -> ModuleType:
    """Load a script as the host does: by path, under its file name, not in sys.modules."""
    spec = importlib.util.spec_from_file_location(path.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def widgets(tab: str) -> None:
    """Make the host's own widgets of a tab, and tell of each as the host does."""
    for end in ("prompt", "neg_prompt", "sampling", "scheduler", "seed"):
        made = gr.Textbox("", label=end, elem_id=f"{tab}_{end}")
        callbacks.note_component(made, elem_id=made.elem_id)
    for end in ("steps", "cfg_scale", "width", "height", "denoising_strength"):
        made = gr.Slider(0, 2048, 64, label=end, elem_id=f"{tab}_{end}")
        callbacks.note_component(made, elem_id=made.elem_id)
    if tab == "img2img":
        picture = gr.Image(elem_id="img2img_image")
        callbacks.note_component(picture, elem_id=picture.elem_id)


def build_page(*, script_first: bool = False) -> tuple[Any, dict[str, list[Any]]]:
    """Build a page as the host does; return it and the script's arguments by tab."""
    callbacks.before_page()
    script = load(ENTRY).LoraBlockWeightScript()
    interfaces, arguments = [], {}
    for tab in ("txt2img", "img2img"):
        with gr.Blocks(analytics_enabled=False) as blocks:
            if not script_first:
                widgets(tab)
            arguments[tab] = script.ui(tab == "img2img")
            if script_first:
                widgets(tab)
        interfaces.append((blocks, tab, tab))
    interfaces += callbacks.build_tabs()
    with gr.Blocks(analytics_enabled=False) as demo, gr.Tabs(elem_id="tabs"):
        for blocks, title, name in interfaces:
            with gr.TabItem(title, id=name, elem_id=f"tab_{name}"):
                blocks.render()
    return demo, arguments


def events_into(demo: Any, component: Any) -> int:
    """Return how many events of a page write into a component."""
    return sum(component._id in (each.get("outputs") or ()) for each in demo.get_config_file()["dependencies"])


# -- the scripts ------------------------------------------------------------------------------------------------------


def test_scripts_load_twice_and_each_offers_at_most_our_script(host: A1111) -> None:
    for path in [*SCRIPTS, *SCRIPTS]:
        found = [one for one in vars(load(path)).values() if isinstance(one, type) and hasattr(one, "elem_id")]
        assert [each().title() for each in found] == (["LoRA Block Weight"] if path == ENTRY else [])


def test_loading_the_scripts_imports_nothing_heavy() -> None:
    code = (
        "import sys, types, runpy\n"
        "host = types.ModuleType('modules')\n"
        "host.scripts = types.SimpleNamespace(Script=object)\n"
        "host.script_callbacks = types.SimpleNamespace(__getattr__=None)\n"
        "class Any:\n    def __getattr__(self, name): return lambda *a, **k: None\n"
        "host.script_callbacks = Any()\n"
        "sys.modules['modules'] = host\n"
        f"[runpy.run_path(path) for path in {[str(path) for path in SCRIPTS]!r}]\n"
        "heavy = {'torch', 'gradio', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)\n"
        "ours = [name for name in sys.modules if name.startswith(('lib_lora.train', 'lib_lora.services'))]\n"
        "print(sorted(heavy), ours)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] []"


def test_building_the_panels_needs_no_diffusers(host: A1111) -> None:
    code = (
        "import sys\nfrom lib_lora.ui.webui import accordion, tabs\nfrom lib_lora.host.webui import host\n"
        "print(sorted({'diffusers', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_script_of_another_extension_with_this_name_has_precedence(
    host: A1111, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    other = tmp_path / "scripts" / ENTRY.name
    host.scripts_data.append(SimpleNamespace(path=str(other)))
    script = load(ENTRY).LoraBlockWeightScript()
    with caplog.at_level(logging.WARNING):
        assert script.show(False) is False
        assert script.show(True) is False
    assert len(caplog.messages) == 1
    assert str(other) in caplog.messages[0]
    assert "steps aside" in caplog.messages[0]


def test_same_file_by_another_path_is_not_another_extension(host: A1111) -> None:
    host.scripts_data.append(SimpleNamespace(path=str(ENTRY.parent / ".." / "scripts" / ENTRY.name)))
    assert load(ENTRY).LoraBlockWeightScript().show(False) is host.modules.scripts.AlwaysVisible


# -- the page ---------------------------------------------------------------------------------------------------------


def test_accordion_is_built_once_a_page_whatever_the_api_asks(host: A1111) -> None:
    build_page()
    page = singletons.page()
    assert page is not None
    assert sorted(page.panels) == ["img2img", "txt2img"]
    script = load(ENTRY).LoraBlockWeightScript()
    with gr.Blocks(analytics_enabled=False) as unseen:
        for is_img2img in (False, True, False, True):
            (only,) = script.ui(is_img2img)
            assert only.value is True
    assert len([each for each in unseen.blocks.values() if getattr(each, "label", None)]) == 4
    build_page()  # Reload UI
    assert singletons.page() is not page
    assert sorted(singletons.page().panels) == ["img2img", "txt2img"]


@pytest.mark.parametrize("others", [False, True])
def test_a_second_webui_on_one_data_folder_is_told_in_its_training_tab(host: A1111, others: bool) -> None:
    with hold(folders.places().data, address="WebUI") if others else contextlib.nullcontext():
        demo, _ = build_page()
    said = [each.value for each in demo.blocks.values() if each.elem_id == "atelier_train_shared"]
    assert ["Another studio uses this data folder" in text for text in said] == [True] * others


@pytest.mark.parametrize("script_first", [False, True])
def test_panels_are_wired_wherever_the_user_has_put_the_scripts(host: A1111, script_first: bool) -> None:
    demo, arguments = build_page(script_first=script_first)
    for tab in ("txt2img", "img2img"):
        panel, _ = singletons.page().panels[tab]
        assert arguments[tab] == [panel.active]
        assert events_into(demo, panel.parts.row) > 0
        assert events_into(demo, singletons.page().found[tab]["prompt"]) > 5
        assert events_into(demo, panel.analyzer.widgets.estimate) > 0
        assert events_into(demo, panel.analyzer.widgets.moved) > 5


def test_a_panel_that_fails_leaves_a_checkbox_and_says_why(
    host: A1111, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no luck today")

    monkeypatch.setattr(accordion.block_weight, "draw", broken)
    demo, arguments = build_page()
    assert [one.value for one in arguments["txt2img"]] == [True]
    assert "no luck today" in caplog.text
    assert demo.get_config_file()["components"]


def test_a_tab_that_fails_leaves_the_other_one(
    host: A1111, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tabs.train, "build", lambda *_: 1 / 0)
    build_page()
    assert [title for _, title, _ in callbacks.build_tabs()] == [tabs.WORKSHOP]
    assert "division by zero" in caplog.text


def test_no_id_of_ours_is_pressed_by_the_hosts_keys_or_given_twice(host: A1111) -> None:
    demo, _ = build_page()
    ids = [each.elem_id for each in demo.blocks.values() if each.elem_id]
    assert len(ids) > 100
    assert [each for each in ids if each.endswith(PRESSED_BY_KEYS)] == []
    assert len(ids) == len(set(ids))


def test_nothing_of_ours_gets_into_ui_config(host: A1111) -> None:
    demo, _ = build_page()
    own = {each for tab in singletons.page().found.values() for each in tab.values()}
    labeled = [each for each in demo.blocks.values() if getattr(each, "label", None) and each not in own]
    open_ = [each.label for each in labeled if not getattr(each, "do_not_save_to_config", False)]
    assert [label for label in open_ if label not in ("txt2img", "img2img", tabs.TRAIN, tabs.WORKSHOP)] == []


def test_reload_ui_keeps_the_atelier_with_its_queue(host: A1111) -> None:
    build_page()
    before = singletons.atelier()
    for path in SCRIPTS:
        load(path)
    build_page()
    assert singletons.atelier() is before


def test_forges_canvas_is_found_behind_its_html() -> None:
    page = HostPage()
    with gr.Blocks(analytics_enabled=False):
        for made in (
            gr.HTML("", elem_id="img2img_image"),
            gr.Textbox("", elem_id="u1", elem_classes=["logical_image_foreground"]),
            gr.Textbox("", elem_id="u1", elem_classes=["logical_image_background"]),
            gr.Textbox("", elem_id="u2", elem_classes=["logical_image_background"]),
        ):
            page.note(made, made.elem_id)
            if made.elem_classes == ["logical_image_background"]:
                break
    assert page.found["img2img"]["init"] is made


# -- what the panels get of the host ----------------------------------------------------------------------------------


def picture(tab: str) -> tuple[Any, list[str]]:
    found = {name: name for name in FIELDS if name != "init" or tab == "img2img"}
    names = [name for name in found if name not in ("prompt", "init")]
    return accordion.picture_of(tab, found, Words("en"), host_samplers=lambda: ("Euler a",)), names


def test_analyzer_takes_the_hosts_own_settings(host: A1111) -> None:
    host.opts.CLIP_stop_at_last_layers = 2
    inputs, names = picture("txt2img")
    values = {"negative": "blurry", "steps": 7.0, "sampler": "DPM++ 2M", "scheduler": "Karras", "seed": "5"}
    values |= {"cfg_scale": 6.5, "width": 320, "height": 640, "denoise": 0.5}
    request = inputs.request("a cat", *(values[name] for name in names))
    assert (request.prompt, request.negative, request.seed, request.steps) == ("a cat", "blurry", 5, 7)
    assert (request.sampler, request.scheduler, request.cfg_scale) == ("DPM++ 2M", "Karras", 6.5)
    assert (request.width, request.height, request.clip_skip, request.init) == (320, 640, 2, None)


def test_img2img_sends_its_picture_only_when_work_begins(host: A1111) -> None:
    inputs, names = picture("img2img")
    assert "init" not in inputs.components
    assert list(inputs.heavy) == ["init"]
    assert inputs.request("", *[None] * len(names)).init is None  # asked for the time alone
    with pytest.raises(InputError, match="no picture to begin with"):
        inputs.request("", *[None] * len(names), None)
    start = Image.new("RGB", (8, 8))
    assert inputs.request("", *[None] * len(names), start).init is start


@pytest.mark.parametrize(
    ("localization", "chosen", "language"),
    [
        ("None", settings.AS_WEBUI, "en"),
        ("ja_JP", settings.AS_WEBUI, "ja"),
        ("zh_CN", settings.AS_WEBUI, "en"),
        ("None", settings.JAPANESE, "ja"),
        ("ja_JP", settings.ENGLISH, "en"),
    ],
)
def test_panels_speak_the_webuis_language_unless_told_otherwise(
    host: A1111, localization: str, chosen: str, language: str
) -> None:
    host.opts.localization = localization
    settings.add_settings()
    host.opts.lora_atelier_language = chosen
    assert settings.words().language == language


def test_settings_have_our_prefix_and_values_of_another_type_are_not_used(host: A1111) -> None:
    settings.add_settings()
    ours = {key: info for key, info in host.opts.data_labels.items() if key.startswith(options.PREFIX)}
    assert len(ours) == len(settings.SETTINGS)
    assert {info.section for info in ours.values()} == {options.SECTION}
    headings = host.modules.options.categories.mapping
    assert {headings[info.category_id] for info in ours.values()} == {options.SECTION[1]}
    assert [key for key, info in ours.items() if key.endswith("_dir") and not info.restrict_api] == []
    assert stops_on_error() is False
    host.opts.lora_atelier_on_error = settings.STOP
    assert stops_on_error() is True
    host.opts.lora_atelier_on_error = 3
    assert stops_on_error() is False


def test_japanese_file_translates_all_that_the_webui_shows_of_ours() -> None:
    known = json.loads((ROOT / "localizations" / "ja_JP.json").read_text(encoding="utf-8"))
    shown = {tabs.TRAIN, tabs.WORKSHOP, options.SECTION[1]}
    shown |= {each.label for each in settings.SETTINGS} | {f"({each.info})" for each in settings.SETTINGS if each.info}
    shown |= {choice for each in settings.SETTINGS for choice in each.choices}
    assert shown - known.keys() == {settings.ENGLISH, settings.JAPANESE}  # languages by their own names
    assert [text for text in known.values() if not text.strip()] == []


def test_folders_are_the_hosts_and_confined_where_others_can_reach_it(host: A1111, tmp_path: Path) -> None:
    settings.add_settings()
    found = folders.places()
    assert found.data == tmp_path / "lora-atelier"
    assert found.loras == host.loras
    assert found.outputs == tmp_path / "outputs" / "lora-atelier"
    assert not found.confined
    host.opts.lora_atelier_data_dir, host.opts.outdir_samples = str(tmp_path / "mine"), "made"
    found = folders.places()
    assert (found.data, found.outputs) == (tmp_path / "mine", tmp_path / "made" / "lora-atelier")
    host.cmd_opts.disable_extension_access = True
    assert folders.places().confined


@pytest.mark.parametrize(
    ("given", "variable", "wanted"),
    [
        ({}, "", False),
        ({"nowebui": True}, "", True),
        ({"nowebui": True, "server_name": "127.0.0.1"}, "", False),
        ({"nowebui": True, "enable_insecure_extension_access": True}, "", False),
        ({"listen": True}, "", True),
        ({"share": True}, "", True),
        ({"ngrok": "token"}, "", True),
        ({"server_name": "192.168.1.5"}, "", True),
        ({"server_name": "studio.lan"}, "", True),
        ({"server_name": "::1"}, "", False),
        ({"hide_ui_dir_config": True, "enable_insecure_extension_access": True}, "", True),
        ({}, "0.0.0.0", True),
        ({}, "localhost", False),
    ],
)
def test_confinement_follows_what_the_server_listens_on(
    host: A1111, monkeypatch: pytest.MonkeyPatch, given: dict[str, object], variable: str, wanted: bool
) -> None:
    """Live: start a host with ``--nowebui`` alone, POST ``{"images": FOLDER, "name": "x"}`` to /train with a folder
    outside its own: HTTP 400, "This server may only use its own folders"; with ``--server-name 127.0.0.1`` the host
    itself takes any name for a public one and sets ``disable_extension_access``, so it is confined too.
    """
    settings.add_settings()
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    if variable:
        monkeypatch.setenv("GRADIO_SERVER_NAME", variable)
    for name, value in given.items():
        setattr(host.cmd_opts, name, value)
    assert folders.places().confined is wanted


@pytest.mark.parametrize(("given", "address"), [(None, ""), ("sd", "/sd"), ("/team/sd/", "/team/sd")])
def test_addresses_begin_where_the_host_stands_behind_a_proxy(host: A1111, given: str | None, address: str) -> None:
    settings.add_settings()
    host.cmd_opts.subpath = given
    assert folders.places().address == address


def test_presets_of_the_other_extension_are_offered(host: A1111, tmp_path: Path) -> None:
    theirs = tmp_path / "extensions" / "sd-webui-lora-block-weight" / "scripts" / "lbwpresets.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("MINE:1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n", encoding="utf-8")
    assert folders.others_presets() == (theirs,)
    demo, _ = build_page()
    buttons = [each.value for each in demo.blocks.values() if isinstance(each, gr.Button)]
    assert [text for text in buttons if str(theirs) in str(text)]


def test_the_workshop_lists_the_files_anew_when_the_page_is_opened(host: A1111) -> None:
    config = build_page()[0].get_config_file()
    file = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "atelier_workshop_file")

    def events(one: dict) -> set[str]:  # gradio 3 has one trigger, later ones an event for each target
        return {one.get("trigger"), *(target[1] for target in one["targets"] if not isinstance(target, int))}

    assert any(file in one["outputs"] for one in config["dependencies"] if "load" in events(one))
