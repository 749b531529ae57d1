"""What a generation says of its tags: comments, notices, infotext; and how our activator comes and goes."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.host.webui.host import WebuiHost
from lib_lora.host.webui.prompt import activator, hooks
from lib_lora.host.webui.prompt.record import Notifier
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.sentences import say
from tests.webui.tagging import PRESETS, lora, picture, put_in


@pytest.fixture
def host(a1111: Any) -> Iterator[Any]:
    with put_in(a1111) as ours:
        a1111.ours = ours
        yield a1111


def test_one_broken_tag_is_named_and_the_others_keep_working(host: Any) -> None:
    wanted = picture(host, "cat <lora:two:1> <lora:one:1:FACE>")
    done = host.txt2img("cat <lora:two:1> <lora:one:1:FACE> <lora:one:1:FCAE> <lora:two:1:1,2,3>")
    assert done.images[0].tobytes() == wanted
    assert "FCAE" in done.comments
    assert "Did you mean FACE?" in done.comments
    assert "got 3" in done.comments
    assert "FCAE" in done.extra_generation_params["LoRA problems"]
    assert host.extra_networks.printed == []


def test_a_tag_that_is_not_closed_harms_no_other(host: Any) -> None:
    done = host.txt2img("cat <lora:two:1 <lora:one:1:FACE>")
    assert done.comments.count("not closed") == 1
    assert done.images[0].tobytes() == picture(host, "cat <lora:one:1:FACE>")


def test_a_lora_that_cannot_act_is_noticed(host: Any) -> None:
    host.add_lora("early", lora(blocks="IN01"))
    assert "begin after the last of 2" in host.txt2img("cat <lora:early:1:step=5-10>", steps=2).comments
    last = ",".join("0" * 25 + "1")
    assert "none of the blocks" in host.txt2img(f"cat <lora:early:1:lbw={last}>").comments


def test_a_missing_file_is_named_with_near_names(host: Any) -> None:
    done = host.txt2img("cat <lora:onee:1:FACE> <lora:two:1>")
    assert "Did you mean one" in done.comments
    assert done.images[0].tobytes() == picture(host, "cat <lora:two:1>")


def test_different_tags_in_one_batch_are_noticed(host: Any) -> None:
    shared = "The pictures of a batch share"
    assert shared in host.txt2img(["cat <lora:one:1:FACE>", "cat <lora:two:1>"], batch_size=2).comments
    assert shared not in host.txt2img(["cat <lora:two:1>", "dog <lora:two:1>"], batch_size=2).comments


def test_blocks_that_a_short_vector_does_not_name_are_noticed(host: Any) -> None:
    done = host.txt2img("cat <lora:one:1:lbw=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>")
    assert "do not name" not in done.comments  # the file has nothing there
    host.add_lora("conv", lora(blocks="IN01 OUT02"))
    assert "do not name OUT02" in host.txt2img("cat <lora:conv:1:lbw=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>").comments


def test_the_option_stop_ends_it_before_the_first_picture(host: Any) -> None:
    host.opts.lora_atelier_on_error = "Stop before rendering"
    script = SimpleNamespace(before_process=hooks.before_process, process=hooks.process)
    for name in ("before_process_batch", "process_batch", "postprocess", "before_hr", "process_before_every_sampling"):
        setattr(script, name, lambda *given, **named: None)
    script.after_extra_networks_activate = script.postprocess
    done = host.txt2img("cat <lora:one:1:FCAE>", scripts=script)
    assert done.images == []
    assert "FCAE" in done.comments
    assert len(host.txt2img("cat <lora:one:1:FACE>", scripts=script).images) == 1


def test_notice_is_shown_once_for_all_batches_and_passes(a1111: Any) -> None:
    shown: list[str] = []
    with put_in(a1111, Notifier(notice=shown.append)):
        a1111.txt2img("cat <lora:one:1:FCAE>", n_iter=3, enable_hr=True)
    assert len(shown) == 1


def test_numbers_stand_in_the_infotext_and_are_written_anew_for_every_picture(host: Any) -> None:
    p = host.order("cat <lora:one:0.8:FACE:stop=3> <lora:two:1>")
    assert host.run(p).extra_generation_params["LoRA block weights"] == (
        "<lora:one:0.8:lbw=1,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,1,0,0,0,0,0,0:stop=3>"
    )
    p.prompt = "cat <lora:two:1>"  # a cell of a plot: the same dict of values
    assert "LoRA block weights" not in host.run(p).extra_generation_params


def test_hashes_list_a_lora_that_the_host_never_heard_of(host: Any) -> None:
    values = host.txt2img("cat <lora:one:1:UNET> <lora:two:1>").extra_generation_params
    assert {part.split(":")[0].strip() for part in values["Lora hashes"].split(",")} == {"one", "two"}


def test_a_pasted_prompt_gets_the_numbers_back_when_its_preset_was_edited(host: Any) -> None:
    done = host.txt2img("cat <lora:one:0.8:FACE>")
    params = {"Prompt": "cat <lora:one:0.8:FACE>", "Seed": "1", **done.extra_generation_params}
    hooks.on_infotext_pasted("", same := dict(params))
    assert same["Prompt"] == params["Prompt"]  # the preset still means the same
    host.ours.presets = PresetFile.parse(PRESETS.replace("FACE:1", "FACE:0"))
    assert picture(host, params["Prompt"]) != done.images[0].tobytes()
    hooks.on_infotext_pasted("", params)
    assert picture(host, params["Prompt"]) == done.images[0].tobytes()


def test_random_weights_follow_the_seed_and_are_written_down(host: Any) -> None:
    tag = "<lora:one:1:lbw=1" + ",R" * 25 + ">"
    first, again = host.txt2img(f"cat {tag}", seed=5), host.txt2img(f"cat {tag}", seed=5)
    assert first.images[0].tobytes() == again.images[0].tobytes()
    written = first.extra_generation_params["LoRA block weights"]
    assert picture(host, f"cat {written}", seed=5) == first.images[0].tobytes()
    assert host.txt2img(f"cat {tag}", seed=6).extra_generation_params["LoRA block weights"] != written


def test_a_lora_of_another_model_is_refused_in_one_sentence(host: Any) -> None:
    foreign = {f"lora_unet_input_blocks_4_1_{n}": one for n, one in enumerate(lora().adapters.values())}
    host.add_lora("xl", LoraFile({key: replace(one, key=key) for key, one in foreign.items()}))
    done = host.txt2img("cat <lora:xl:1:UNET>")
    assert "fits none of the model's layers" in done.comments
    assert done.images[0].tobytes() == picture(host, "cat")


def test_installing_twice_wraps_once_and_uninstalling_gives_the_host_its_own(a1111: Any) -> None:
    registry, aliases = a1111.extra_networks.extra_network_registry, a1111.extra_networks.extra_network_aliases
    own, names = registry["lora"], set(aliases)
    ours = WebuiHost()
    assert hooks.install(lambda: ours)
    assert hooks.install(lambda: ours)
    assert registry["lora"].inner is own
    assert aliases["lyco"] is registry["lora"]
    hooks.uninstall()
    hooks.uninstall()
    assert registry["lora"] is own
    assert (aliases["lyco"], set(aliases)) == (own, names)


def test_another_block_weight_extension_has_precedence(a1111: Any) -> None:
    other = "/extensions/sd-webui-lora-block-weight/scripts/lora_block_weight.py"
    a1111.scripts_data.append(SimpleNamespace(path=other))
    own = a1111.extra_networks.extra_network_registry["lora"]
    assert not hooks.install(WebuiHost)
    assert a1111.extra_networks.extra_network_registry["lora"] is own
    assert str(hooks.other_extension()) == other
    assert hooks.SCRIPT.is_file()  # ours, from which another one's is told


def test_an_error_of_ours_is_said_in_the_voice_of_the_page(a1111: Any) -> None:
    said: list[AtelierError] = []
    speak: Callable[[AtelierError], str] = lambda error: said.append(error) or "間違い"  # noqa: E731
    with put_in(a1111, Notifier(error=speak)):
        assert "間違い" in a1111.txt2img("cat <lora:one:1:FCAE>").comments
    assert said


def test_a_fault_of_ours_leaves_the_hosts_own_loras_working(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = picture(host, "cat <lora:two:1>")
    monkeypatch.setattr(activator, "make_plan", lambda *given: 1 / 0)
    done = host.txt2img("cat <lora:two:1> <lora:one:1:FACE>")
    assert done.images[0].tobytes() == wanted
    assert "ZeroDivisionError" in done.comments


def test_items_of_other_extensions_stay_with_the_host_and_misspelt_ones_of_ours_are_named(host: Any) -> None:
    done = host.txt2img("cat <lora:one:0.8:mask=left>")
    assert done.images[0].tobytes() == picture(host, "cat <lora:one:0.8>")
    assert "another extension" in done.comments
    assert "Did you mean lbw" in host.txt2img("cat <lora:one:0.8:lbww=FACE>").comments


def test_tags_with_a_key_of_ours_can_be_copied() -> None:
    from lib_lora.host.webui.prompt.conditioning import Encoded

    one = Encoded({"lora": []}, (("lora", "one", 0.5, None),))
    assert copy.deepcopy(one) == one != Encoded({"lora": []}, ())
    for plain in ({"lora": []}, collections.defaultdict(list)):  # asked from the other side, as the host's cache does
        assert plain == Encoded({"lora": []}, ())


@pytest.mark.parametrize("tag", ["same:1", "same:1:FACE"])
def test_files_of_one_name_in_two_folders_are_noticed_once(host: Any, tag: str) -> None:
    for folder in ("a", "服 b"):
        (host.loras / folder).mkdir()
        write_lora(lora(), host.loras / folder / "same.safetensors")
    host.networks.list_available_networks()
    taken = host.ours.find_lora("same").relative_to(host.loras).as_posix()
    said = host.txt2img(f"cat <lora:{tag}> <lora:one:0.5>").comments
    told = "{n} files are called {name}; {path} is taken. To use the others, rename them."
    note = say(told, n=2, name="same", path=taken)
    assert said.count("files are called") == said.count(note) == 1
    assert "ほかのファイルを使うには、名前を変えてください" in sentence_in_words(note, "ja")
    (host.loras / "a" / "same.safetensors").unlink()
    host.ours.loras_changed()
    assert "files are called" not in host.txt2img(f"cat <lora:{tag}>").comments
    (host.loras / "same.pt").write_bytes(b"the host takes this ending too")
    host.ours.loras_changed()
    assert host.ours.namesakes("same")
