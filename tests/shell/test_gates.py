"""tools/gates.py: each number can be made worse, and each hard limit fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import gates


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "lib_lora").mkdir()
    (tmp_path / "lib_lora" / "good.py").write_text("def double(x: int) -> int:\n    return 2 * x\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_good.py").write_text(
        "def test_double_is_twice_as_much():\n    pass\n", encoding="utf-8"
    )
    return tmp_path


def values(root: Path) -> dict[str, gates.Gate]:
    return {gate.title.split(" (")[0]: gate for gate in gates.measure(root)}


def add(root: Path, text: str, name: str = "lib_lora/worse.py") -> None:
    (root / name).write_text(text, encoding="utf-8")


def test_clean_project_breaks_no_gate(small: Path) -> None:
    assert gates.main([str(small)]) == 0
    assert [gate.value for gate in values(small).values() if gate.title.startswith(("bare", "broad", "public"))] == [
        "0"
    ] * 3


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("x = 1\n" * 401, "longest file"),
        ("def f() -> None:\n" + "    x = 1\n" * 60, "longest function"),
        ("try:\n    x = 1\nexcept:\n    x = 2\n", "bare or silent excepts"),
        ("try:\n    x = 1\nexcept ValueError:\n    pass\n", "bare or silent excepts"),
        ("try:\n    x = 1\nexcept ValueError:\n    ...\n", "bare or silent excepts"),
        ("def f() -> None:\n    import gradio as gr\n", "host or gradio imports in the core"),
        ("from modules.shared import opts\n", "host or gradio imports in the core"),
        ("from modules import shared\n", "host or gradio imports in the core"),
    ],
)
def test_hard_limit_fails_the_run_and_names_the_place(
    small: Path, capsys: pytest.CaptureFixture[str], text: str, title: str
) -> None:
    add(small, text)
    assert gates.main([str(small)]) == 1
    assert values(small)[title].broken
    assert values(small)[title].places[0].startswith("lib_lora/worse.py")
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["lib_lora/host/webui/model/live_model.py", "lib_lora/ui/shim.py"])
def test_host_floor_may_import_the_host(small: Path, name: str) -> None:
    (small / name).parent.mkdir(parents=True)
    add(small, "import gradio\nfrom modules import shared\n", name)
    assert gates.main([str(small)]) == 0


def test_exactly_at_the_limit_is_allowed(small: Path) -> None:
    add(small, "x = 1\n" * 340 + "def f() -> None:\n" + "    x = 1\n" * 59)
    assert gates.main([str(small)]) == 0


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("lib_lora/worse.py", "def f(x) -> int:\n    return x\n", "public functions without types"),
        ("lib_lora/worse.py", "def f(x: int):\n    return x\n", "public functions without types"),
        ("lib_lora/worse.py", "def f(*x) -> int:\n    return 1\n", "public functions without types"),
        ("lib_lora/worse.py", "try:\n    x = 1\nexcept Exception:\n    x = 2\n", "broad excepts"),
        ("lib_lora/worse.py", "try:\n    x = 1\nexcept (OSError, BaseException):\n    x = 2\n", "broad excepts"),
        ("tests/test_worse.py", "def test_parse():\n    pass\n", "tests without a promise in the name"),
    ],
)
def test_soft_number_counts_without_failing(small: Path, name: str, text: str, title: str) -> None:
    add(small, text, name)
    assert values(small)[title].value == "1"
    assert gates.main([str(small)]) == 0


def test_long_lists_of_places_are_cut_with_their_number() -> None:
    text = gates.render([gates.counted("things", [f"place {i}" for i in range(10)], hard=False)], shown=2)
    assert text.splitlines()[2:] == ["         - place 0", "         - place 1", "         - and 8 more"]
