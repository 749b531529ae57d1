"""A WebUI's start with our scripts: what is imported, and that a second load leaves nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("diffusers", "transformers", "torch", "gradio", "lib_lora.train", "lib_lora.analysis", "lib_lora.host.studio")
"""What importing the scripts must not load; a WebUI has torch and gradio itself, and our part of them comes later."""

STANDS_IN = """
import importlib.util, json, sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

class Callbacks(ModuleType):
    def __getattr__(self, name):
        if not name.startswith("on_"):
            raise AttributeError(name)
        def register(callback, *, name=None):
            REGISTERED.append(callback.__qualname__)
        return register

REGISTERED = []
class Script: pass
modules = ModuleType("modules")
modules.__path__ = []
callbacks = modules.script_callbacks = Callbacks("modules.script_callbacks")
scripts = modules.scripts = ModuleType("modules.scripts")
scripts.Script, scripts.AlwaysVisible, scripts.scripts_data, scripts.basedir = Script, object(), [], lambda: ROOT
sys.modules.update({"modules": modules, "modules.scripts": scripts, "modules.script_callbacks": callbacks})
sys.path.insert(0, ROOT)

def load():
    classes = []
    for path in sorted(Path(ROOT, "scripts").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)  # as the host does: under its file's name, and not in sys.modules
        classes += [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Script)]
    return [each.__name__ for each in classes if each is not Script]
"""


def run(code: str) -> dict:
    """Run code after the stand-in's, in a fresh Python; return what it puts into ``result``."""
    whole = f"ROOT = {str(ROOT)!r}\n{STANDS_IN}\n{code}\nprint(json.dumps(result))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_scripts_loads_no_model_code_and_no_training_code() -> None:
    found = run("load()\nresult = sorted(sys.modules)")
    loaded = [name for name in found if any(name == heavy or name.startswith(heavy + ".") for heavy in HEAVY)]
    assert loaded == []


def test_second_load_registers_the_same_again_and_nothing_more() -> None:
    code = """
first = load(), list(REGISTERED)
REGISTERED.clear()  # Reload UI forgets every callback, and runs the scripts again
result = {"first": first, "second": [load(), REGISTERED]}
"""
    found = run(code)
    assert found["first"] == found["second"]
    classes, callbacks = found["first"]
    assert classes == ["LoraBlockWeightScript"]
    assert len(callbacks) == len(set(callbacks)) > 3


@pytest.mark.parametrize(
    "module",
    ["lib_lora.ui.webui.tabs", "lib_lora.ui.webui.accordion", "lib_lora.host.webui.host", "lib_lora.web.api.routes"],
)
def test_panels_in_a_webui_load_no_second_model_library(module: str) -> None:
    found = run(f"import {module}\nresult = sorted(sys.modules)")
    unwanted = ("diffusers", "transformers", "lib_lora.host.studio", "lib_lora.train.loop")
    assert [name for name in found if name in unwanted] == []


def test_running_host_has_no_part_of_the_studios_model(webui) -> None:
    code = "import sys; result = [n for n in sys.modules if n.startswith(('lib_lora.host.', 'diffusers'))]"
    loaded = webui.run(code)
    assert "lib_lora.host.studio" not in loaded
    assert ("diffusers" in loaded) == (webui.kind == "forge")  # Forge brings its own
