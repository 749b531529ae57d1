"""scripts/lora_block_weight.py inside a pretended WebUI: one line, no arguments, and it steps aside for a namesake."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ENTRY = Path(__file__).resolve().parents[2] / "scripts" / "lora_block_weight.py"


class PretendedScript:
    """The little of `modules.scripts.Script` that the entry uses."""

    def elem_id(self, item: str) -> str:
        return f"script_{item}"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A pretended host: its loaded scripts, its options, and the HTML that was shown."""
    state = SimpleNamespace(shown=[], data=[], opts=SimpleNamespace(localization="None"), always=object())

    @contextlib.contextmanager
    def accordion(label: str, **_: object) -> Iterator[None]:
        state.shown.append(label)
        yield

    gradio, modules = ModuleType("gradio"), ModuleType("modules")
    gradio.Accordion, gradio.HTML = accordion, state.shown.append  # type: ignore[attr-defined]
    modules.scripts = SimpleNamespace(  # type: ignore[attr-defined]
        Script=PretendedScript, AlwaysVisible=state.always, scripts_data=state.data
    )
    modules.shared = SimpleNamespace(opts=state.opts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.setitem(sys.modules, "modules", modules)
    state.data.append(SimpleNamespace(path=str(ENTRY)))
    return state


def entry() -> ModuleType:
    """Load the script as the host does: by path, under its file name, not in sys.modules."""
    spec = importlib.util.spec_from_file_location(ENTRY.name, ENTRY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_our_script_class_is_offered_to_the_host(host: SimpleNamespace) -> None:
    scripts = [
        thing for thing in vars(entry()).values() if isinstance(thing, type) and issubclass(thing, PretendedScript)
    ]
    assert [script().title() for script in scripts] == ["LoRA Block Weight"]


def test_line_is_always_visible_and_takes_no_arguments(host: SimpleNamespace) -> None:
    script = entry().LoraBlockWeightScript()
    assert script.show(False) is host.always
    assert script.show(True) is host.always
    assert script.ui(False) == []
    assert script.ui(False) == []  # the host asks more than once
    label, line = host.shown[:2]
    assert label == "LoRA Block Weight"
    assert "<code>python run.py demo</code>" in line
    assert "{" not in line


@pytest.mark.parametrize(
    ("localization", "japanese"), [("ja_JP", True), ("None", False), ("", False), ("zh_CN", False)]
)
def test_line_speaks_one_language_that_of_the_webui(host: SimpleNamespace, localization: str, japanese: bool) -> None:
    host.opts.localization = localization
    entry().LoraBlockWeightScript().ui(False)
    assert ("操作パネル" in host.shown[1]) is japanese
    assert ("The panels arrive" in host.shown[1]) is not japanese


def test_script_of_another_extension_with_this_name_has_precedence(
    host: SimpleNamespace, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    other = tmp_path / "scripts" / ENTRY.name
    host.data.append(SimpleNamespace(path=str(other)))
    script = entry().LoraBlockWeightScript()
    with caplog.at_level(logging.WARNING):
        assert script.show(False) is False
        assert script.show(True) is False
    assert len(caplog.messages) == 1
    assert str(other) in caplog.messages[0]
    assert "steps aside" in caplog.messages[0]


def test_same_file_by_another_path_is_not_another_extension(host: SimpleNamespace) -> None:
    host.data.append(SimpleNamespace(path=str(ENTRY.parent / ".." / "scripts" / ENTRY.name)))
    assert entry().LoraBlockWeightScript().show(False) is host.always


def test_class_names_of_style_and_script_are_those_of_the_line(host: SimpleNamespace) -> None:
    root = ENTRY.parents[1]
    for file in (root / "style.css", root / "javascript" / "lora_atelier.js"):
        assert ".lora-atelier-note code" in file.read_text(encoding="utf-8")
    assert 'class="lora-atelier-note"' in entry().note("en")
