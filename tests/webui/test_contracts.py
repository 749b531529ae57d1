"""Every name of a host that our code uses exists in that host, with a signature that takes our call.

Real sources are read where there are some: WEBUI_DIR, and the folders in HOST_SOURCES. Nothing of them is run.
"""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from tests.webui.contracts import Call, Sources, Use, defined, member_of, parameters, uses
from tests.webui.fakes import core, processing
from tests.webui.fakes.extra_networks import ExtraNetwork, ExtraNetworkParams, ExtraNetworks
from tests.webui.fakes.lora_extension import Network, NetworkModule, Networks
from tests.webui.installed import A1111, CLASSIC, FORGE, NEO, REFORGE, kind_of
from tests.webui.named import REACHED
from tests.webui.stand_ins import misused, problems, stand_ins

NO_SOURCES = (
    "NO HOST SOURCES WERE READ: set HOST_SOURCES (folders of WebUIs, separated as in PATH) or WEBUI_DIR (docs/hosts.md)"
)

ONLY = {
    A1111: ("a1111",),
    FORGE: ("forge",),
    NEO: ("forge",),
    REFORGE: ("reforge", "classic", "patches"),
    CLASSIC: ("reforge", "classic", "patches"),
}
"""A file of ours that has such a word in its name speaks of that kind of host alone."""

MISSED = {
    CLASSIC: {
        "modules.processing.p.scheduler": "only the fields that an order has are set",
        "modules.sd_schedulers": "a sampler carries its scheduler",
        "modules.sd_schedulers.Scheduler.name": "as above",
        "modules.sd_schedulers.Scheduler.label": "as above",
        "modules.shared.cmd_opts.no_prompt_history": "set for nobody; the host notes each prompt",
        "networks.update_available_networks_by_names": "all folders are read instead",
    },
    NEO: {
        "network.Network.modules": "only A1111's loader says what it placed",
        "modules.shared.opts.lora_functional": "off",
        "modules.shared.opts.no_dpmpp_sde_batch_determinism": "off",
    },
}
"""What a host lacks and we do without, with what happens instead."""


def folders() -> list[Path]:
    named = [os.environ.get("WEBUI_DIR", ""), *os.environ.get("HOST_SOURCES", "").split(os.pathsep)]
    found = [Path(name).expanduser().absolute() for name in named if name.strip()]
    return [path for path in dict.fromkeys(found) if (path / "modules" / "shared.py").is_file()]


@pytest.fixture(params=folders() or [None], ids=lambda path: path.name if path else "none")
def host(request: pytest.FixtureRequest) -> Sources:
    if request.param is None:
        pytest.skip(NO_SOURCES)
    return Sources(request.param)


@pytest.fixture(params=[path for path in folders() if kind_of(path) == A1111] or [None], ids=lambda p: p and p.name)
def a1111_sources(request: pytest.FixtureRequest) -> Sources:
    if request.param is None:
        pytest.skip(NO_SOURCES)
    return Sources(request.param)


def speaks_of(use: Use, kind: str) -> bool:
    """Whether a line of ours speaks to a kind of host: by its file's name, or by a condition around it."""
    name = Path(use.file).stem
    of = [each for each, words in ONLY.items() if any(word in name.split("_") for word in words)]
    like = REFORGE if kind == CLASSIC else kind  # conditions of ours tell the two apart nowhere
    return (not of or kind in of) and (not use.kinds or like in use.kinds)


def name_of(use: Use) -> str:
    """Return the dotted name that a line of ours reaches for."""
    return ".".join((use.module, *use.chain))


@pytest.mark.parametrize("kind", MISSED)
def test_what_a_host_may_lack_is_used_by_us(kind: str) -> None:
    ours = {name_of(use) for use in (*uses(), *REACHED)}
    ours |= {f"{of}.{member}" for one in stand_ins().values() for of in one.stands_for for member in one.members}
    assert set(MISSED[kind]) <= ours


def test_names_of_this_host_are_there_and_take_our_calls(host: Sources) -> None:
    kind = kind_of(host.folder)
    checked = [use for use in (*uses(), *REACHED) if speaks_of(use, kind)]
    problems = {str(use): host.problem(use) for use in checked if name_of(use) not in MISSED.get(kind, {})}
    assert len(checked) > 30
    assert {place: problem for place, problem in problems.items() if problem} == {}


def test_stand_ins_are_what_this_host_has(host: Sources) -> None:
    kind = kind_of(host.folder)
    mine = [one for one in stand_ins().values() if not one.kinds or kind in one.kinds]
    said = {name: problem for one in mine for name, problem in problems(host, one).items()}
    assert {name: problem for name, problem in said.items() if name not in MISSED.get(kind, {})} == {}


def test_every_stand_in_says_what_it_stands_for_and_has_all_that_we_use() -> None:
    known = stand_ins()
    assert len(known) > 15
    assert [one.name for one in known.values() if not one.stands_for] == []
    assert list(misused(known)) == []


def test_a_wrong_stand_in_and_a_wrong_use_are_found(sample: Sources, tmp_path: Path) -> None:
    text = """
class State(Protocol):
    \"\"\"Stands for: modules.shared_state.State\"\"\"

    job: str
    jobs: int

    def begin(self, task: str, more: int) -> None: ...
"""
    (tmp_path / "protocols.py").write_text(text, encoding="utf-8")
    known = stand_ins(tmp_path / "protocols.py")
    wrong = {name.rpartition(".")[2] for name in problems(sample, known["State"])}
    assert wrong == {"jobs", "begin"}
    (tmp_path / "scripts").mkdir()
    used = (
        "def f(state: State | None):\n    state.job, state.other\n    if hasattr(state, 'end'):\n        state.end()\n"
    )
    (tmp_path / "scripts" / "one.py").write_text(used, encoding="utf-8")
    assert [place.split()[1] for place in misused(known, tmp_path)] == ["state.other"]


def test_uses_are_read_from_our_sources_as_they_are() -> None:
    found = uses()
    modules = {use.module for use in found} | {f"{use.module}.{use.chain[0]}" for use in found if use.chain}
    assert {"modules.shared", "modules.processing", "modules.call_queue", "networks"} <= modules
    assert {use.chain[1] for use in found if use.chain[:1] == ("opts",)} >= {"sd_noise_schedule", "localization"}
    called = [use for use in found if use.call is not None]
    assert any(use.chain[-1] == "process_images" for use in called)


def test_methods_of_our_script_and_names_of_a_generation_are_read(tmp_path: Path) -> None:
    text = "from modules import scripts\nclass A(scripts.Script):\n    def setup(self, p):\n        p.seed\n"
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "one.py").write_text(text, encoding="utf-8")
    found = {".".join((use.module, *use.chain)) for use in uses(tmp_path)}
    assert found == {
        "modules.scripts",
        "modules.scripts.Script",
        "modules.scripts.Script.setup",
        "modules.processing.p.seed",
    }


def test_condition_on_the_kind_of_host_is_followed(tmp_path: Path) -> None:
    text = "from modules import a\nif kind is HostKind.FORGE:\n    a.x()\nelse:\n    a.y()\na.z()\n"
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "one.py").write_text(text, encoding="utf-8")
    kinds = {use.chain[-1]: use.kinds for use in uses(tmp_path)}
    assert kinds == {"a": frozenset(), "x": {FORGE}, "y": {A1111, NEO, REFORGE}, "z": frozenset()}


SAMPLE = {
    "modules/shared.py": "state: 'shared_state.State' = None\nopts = cmd_opts = None\nadd('known', '--lora-dir')\n",
    "modules/shared_state.py": "class State:\n    def begin(self, job='x'):\n        self.job = job\n",
    "modules/processing.py": "class Processing:\n    seed: int = 0\n    def comment(self, text): self.comments = 1\n",
    "modules/deep.py": "try:\n    from os import sep\nexcept ImportError:\n    sep = ''\n\ndef f(a, b=1, *, c): pass\n",
}


@pytest.fixture
def sample(tmp_path: Path) -> Sources:
    for name, text in SAMPLE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return Sources(tmp_path)


@pytest.mark.parametrize(
    ("module", "chain", "call", "problem"),
    [
        ("modules", "shared", None, ""),
        ("modules", "nobody", None, "modules"),
        ("modules.shared", "state.begin", Call(1, (), False), ""),
        ("modules.shared", "state.begin", Call(2, (), False), "takes 1"),
        ("modules.shared", "state.begin", Call(0, ("task",), False), "takes no task"),
        ("modules.shared", "state.job", None, ""),
        ("modules.shared", "state.jobs", None, "has no jobs"),
        ("modules.shared", "opts.known", None, ""),
        ("modules.shared", "opts.unknown", None, "no opts.unknown"),
        ("modules.shared", "cmd_opts.lora_dir", None, ""),
        ("modules.shared", "option", None, "has no option"),
        ("modules.processing", "p.seed", None, ""),
        ("modules.processing", "p.comments", None, ""),
        ("modules.processing", "p.atelier", None, ""),
        ("modules.processing", "p.seeed", None, "p has no seeed"),
        ("modules.processing", "p.comment", Call(2, (), False), "takes 1"),
        ("modules.deep", "sep", None, ""),
        ("modules.deep", "f", Call(1, ("c",), False), ""),
        ("modules.deep", "f", Call(1, (), False), "needs c"),
        ("modules.deep", "f", Call(0, (), True), ""),
        ("modules", "deep.f", Call(0, ("c",), False), "needs a"),
    ],
)
def test_missing_names_and_wrong_calls_are_found(sample: Sources, module, chain, call, problem) -> None:
    said = sample.problem(Use("x.py", 1, module, tuple(chain.split(".")), call))
    assert (said == "") == (problem == "")
    assert problem in said


# -- the fakes speak as their hosts --------------------------------------------------------------------------------

FAKES: tuple[tuple[type, str, str], ...] = (
    (ExtraNetworks, "modules.extra_networks", ""),
    (ExtraNetworkParams, "modules.extra_networks", "ExtraNetworkParams"),
    (ExtraNetwork, "modules.extra_networks", "ExtraNetwork"),
    (Networks, "networks", ""),
    (Network, "network", "Network"),
    (NetworkModule, "network", "NetworkModule"),
    (core.State, "modules.shared_state", "State"),
    (core.FIFOLock, "modules.fifo_lock", "FIFOLock"),
    (core.Options, "modules.options", "Options"),
    (core.OptionInfo, "modules.options", "OptionInfo"),
    (core.ScriptRunner, "modules.scripts", "ScriptRunner"),
    (core.Devices, "modules.devices", ""),
    (processing.StableDiffusionProcessing, "modules.processing", "StableDiffusionProcessing"),
    (processing.StableDiffusionProcessingTxt2Img, "modules.processing", "StableDiffusionProcessingTxt2Img"),
)
OURS = {"module", "patch", "undo", "entries"}
"""What a fake has for itself."""


@pytest.mark.parametrize(("fake", "module", "name"), FAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_fake_has_the_signatures_of_a1111(a1111_sources: Sources, fake: type, module: str, name: str) -> None:
    tree = a1111_sources.module(module)
    owner: Any = defined(tree, name) if name else tree
    assert owner is not None
    for method, function in inspect.getmembers(fake, inspect.isfunction):
        if method in OURS or method.startswith(("_", "network_")) or method not in vars(fake):
            continue
        real = member_of(owner, method) if name else defined(owner, method)
        assert real is not None, f"{module} {name} has no {method}"
        if isinstance(real, ast.FunctionDef):
            ours = [n for n in inspect.signature(function).parameters if n not in ("self",)]
            theirs = parameters(real, bound=bool(name))
            more = [real.args.vararg, *real.args.kwonlyargs, real.args.kwarg]
            theirs += [arg.arg for arg in more if arg is not None]
            assert ours == theirs[: len(ours)] or set(ours) <= set(theirs), f"{method}: {ours} instead of {theirs}"


FIELDS = ("StableDiffusionProcessing", "StableDiffusionProcessingTxt2Img", "StableDiffusionProcessingImg2Img")


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_fake_generation_are_fields_of_the_real_one(a1111_sources: Sources, name: str) -> None:
    tree = a1111_sources.module("modules.processing")
    owners = [defined(tree, each) for each in FIELDS]
    fake = getattr(processing, name)
    for each in vars(fake).get("__annotations__", {}):
        assert any(member_of(owner, each) is not None for owner in owners), each
