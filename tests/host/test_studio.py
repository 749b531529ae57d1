from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.formats.lora import write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.infotext import png_info, read_infotext
from lib_lora.host.studio.sampling import SAMPLERS
from lib_lora.live.rank import cut_rank
from lib_lora.progress import Progress, Stoppable

REQUEST = GenerateRequest("red apple, blue background", seed=3, steps=3)


@pytest.fixture(scope="module")
def host(studio, lora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(lora, folder / "strong 絵.safetensors")
    studio.lora_folders = (folder,)
    return studio


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def same(one, two) -> bool:
    return all(np.array_equal(levels(a), levels(b)) for a, b in zip(one.images, two.images, strict=True))


def test_the_same_order_gives_the_same_picture(host):
    assert same(host.generate(REQUEST), host.generate(REQUEST))
    assert not same(host.generate(REQUEST), host.generate(replace(REQUEST, seed=4)))


def test_pictures_of_a_batch_are_those_of_their_seeds(host):
    batch = host.generate(replace(REQUEST, batch=3))
    alone = host.generate(replace(REQUEST, seed=5))
    assert np.abs(levels(batch.images[2]) - levels(alone.images[0])).max() <= 1
    assert "Seed: 5" in batch.infotexts[2]


@pytest.mark.parametrize(
    "tag",
    [
        "<lora:strong 絵:1>",
        "<lora:strong 絵:1:1>",
        "<lyco:strong 絵>",
        "<lora:strong 絵:1:ALL>",
        "<lora:strong 絵:1:lbw=all>",
        "<lora:strong 絵:1:lbw=" + ",".join(["1"] * 26) + ">",
        "<lora:strong 絵:te=1:unet=1>",
        "<lora:strong 絵:0.5:lbw=X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X:x=2>",
        "<lora:strong 絵:1:start=0>",
    ],
)
def test_every_spelling_of_all_ones_is_the_plain_lora(host, tag):
    plain = host.generate(replace(REQUEST, prompt=REQUEST.prompt + "<lora:strong 絵:1>"))
    other = host.generate(replace(REQUEST, prompt=REQUEST.prompt + tag))
    assert np.abs(levels(plain.images[0]) - levels(other.images[0])).max() <= 1
    assert not same(plain, host.generate(REQUEST))


@pytest.mark.parametrize(
    "tag", ["<lora:strong 絵:0>", "<lora:strong 絵:1:NONE>", "<lora:strong 絵:te=0:unet=1:stop=0>"]
)
def test_every_spelling_of_all_zeros_is_no_lora(host, tag):
    assert same(host.generate(replace(REQUEST, prompt=REQUEST.prompt + tag)), host.generate(REQUEST))


def test_a_sweep_in_one_batch_equals_single_pictures(host):
    layout = full_layout("sd1")
    ones = BlockWeights.uniform(layout, 1.0)
    sweep = (
        ones,
        ones.replaced({"OUT05": 0.0}),
        ones.replaced({"BASE": 0.0, "IN04": 2.0}),
        BlockWeights.uniform(layout, 0.0),
    )
    prompt = REQUEST.prompt + "<lora:strong 絵:1:XYZ>"
    together = host.generate(replace(REQUEST, prompt=prompt, sweep=sweep))
    chunked = host.generate(replace(REQUEST, prompt=prompt, sweep=sweep, sweep_chunk=3))
    for number, weights in enumerate(sweep):
        tag = f"<lora:strong 絵:1:lbw={weights.format()}>"
        alone = host.generate(replace(REQUEST, prompt=REQUEST.prompt + tag))
        for picture in (together.images[number], chunked.images[number]):
            assert np.abs(levels(picture) - levels(alone.images[0])).max() <= 1
    assert same(replace(together, images=together.images[3:]), host.generate(REQUEST)) or (
        np.abs(levels(together.images[3]) - levels(host.generate(REQUEST).images[0])).max() <= 1
    )


def test_what_the_picture_carries_makes_it_again(host, tmp_path):
    tag = "<lora:strong 絵:0.7:FACE>"
    made = host.generate(replace(REQUEST, prompt=REQUEST.prompt + tag))
    path = tmp_path / "a.png"
    made.images[0].save(path, pnginfo=png_info(made.infotexts[0]))
    text = read_infotext(Image.open(path))
    numbers = re.search(r'LoRA block weights: "([^"]*)"', text)[1]
    assert "FACE" not in numbers
    again = host.generate(replace(REQUEST, prompt=REQUEST.prompt + numbers))
    assert same(made, again)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_renders_and_keeps_step_windows(host, sampler):
    request = replace(REQUEST, sampler=sampler.upper(), steps=4)
    plain = host.generate(request)
    assert levels(plain.images[0]).std() > 0
    never = host.generate(replace(request, prompt=request.prompt + "<lora:strong 絵:te=0:unet=1:start=4>"))
    assert same(plain, never)
    late = host.generate(replace(request, prompt=request.prompt + "<lora:strong 絵:te=0:unet=1:start=2>"))
    early = host.generate(replace(request, prompt=request.prompt + "<lora:strong 絵:te=0:unet=1:stop=2>"))
    assert not same(late, plain)
    assert not same(early, late)


def test_a_long_prompt_is_not_cut(host):
    base = "red apple, " * 40
    one = host.model.encode_text([base + "cat face"]).tokens
    two = host.model.encode_text([base + "dog face"]).tokens
    assert one.shape[1] == 2 * 77 or one.shape[1] == 3 * 77
    assert not torch.equal(one, two)


BROKEN = {
    "<lora:strng 絵:1>": "Did you mean: strong 絵",
    "<lora:strong 絵:1:FAC>": "FACE",
    "<lora:strong 絵:1:1,2,3>": "12/17/20/26",
    "<lora:strong 絵:0,8>": "Write a point: 0.8",
    "<lora:strong 絵:1/2>": "Write a strength like 0.8",
    "<lora:strong 絵:nan>": "Write a strength like 0.8",
    "<lora:strong 絵:100%>": "Write a strength like 0.8",
    "<lora:strong 絵：0.8>": "full-width colon",
    "<lora:strong 絵:1": "not closed",
    "<lora:strong 絵:1＞": "not closed",
    "＜lora:strong 絵:1>": "half-width",
    "< lora:strong 絵:1>": "without spaces",
    "<lo\u200bra:strong 絵:1>": "meant as a LoRA tag",
    "<loha:strong 絵:1>": "any kind",
}


@pytest.mark.parametrize(("tag", "said"), BROKEN.items())
def test_one_bad_tag_is_left_out_and_named_the_others_act(host, tag, said):
    good = " <lora:strong 絵:0.5>"
    with_bad = host.generate(replace(REQUEST, prompt=REQUEST.prompt + good + tag))
    (problem,) = with_bad.problems
    assert said in str(problem)
    assert "LoRA problems" in with_bad.infotexts[0]
    assert str(host.lora_folders[0]) not in with_bad.infotexts[0]
    if "lora:" not in tag or not tag.endswith(">") or tag[0] != "<":
        pass  # its text counts as words, as in the WebUI, so the picture is another
    elif said not in ("without spaces", "meant as a LoRA tag"):
        assert same(with_bad, host.generate(replace(REQUEST, prompt=REQUEST.prompt + good)))
    with pytest.raises(InputError, match=re.escape(problem.what)):
        host.generate(replace(REQUEST, prompt=REQUEST.prompt + good + tag, strict=True))


def test_a_sweep_without_a_tag_that_can_be_swept_is_refused(host):
    weights = (BlockWeights.uniform(full_layout("sd1"), 1.0),)
    with pytest.raises(InputError, match="strong"):
        host.generate(replace(REQUEST, prompt="x <lora:strng 絵:1:XYZ> <lora:strong 絵:1>", sweep=weights))


@pytest.mark.parametrize(
    ("prompt", "negative", "said"),
    [
        ("x <lora:strong 絵:1:XYZ>", "", "every block counts 1"),
        ("x", "<lora:strong 絵:1>", "does nothing"),
        ("[<lora:strong 絵:1>:0.5]", "", "use start= and stop="),
        ("[<lora:strong 絵:1>|<lora:strong 絵:0.5>]", "", "use start= and stop="),
        ("(<lora:strong 絵:1>:1.2)", "", "strength in the tag"),
        ("x <lora:strong 絵:1> AND y", "", "all parts"),
        ("{<lora:strong 絵:1>|<lora:strong 絵:0.5>}", "", "Dynamic Prompts"),
        ("x <hypernet:y:1>", "", "only LoRA tags"),
        ("x # <lora:strng:1>", "", "comment"),
        ("x\u200b", "\ufeffy", "left out: 2"),
        ("at 12:30", "", "30 times"),
        ("(smile:1,5)", "", "no weight that is read"),
        ("x", "（smile：1.5）", "no weight that is read"),
        ("(smile:１．５)", "", "(smile:１．５) has no weight"),
        ("(smile：1.5)", "", "no weight that is read"),
        ("((a) smile:150%)", "", "no weight that is read"),
        ("[red:blue:１]", "", "no number"),
        ("x", "[red:blue:0,5]", "no number"),
        ("[red:blue:0.5:0.7]", "", "no number"),
        ("[red:blue:]", "", "no number"),
        ("[red:０．５]", "", "no number"),
        ("[red:blue]", "", "does not say when"),
        ("[red:1.3]", "", "behind the last step"),
        ("[red:blue:0.5] | x", "", "lone |"),
        ("[red:blue:0.5]])", "", "lone ]"),
        ("embedding:foo", "", "Write foo alone"),
        ("x <lora:strong 絵:1>>", "", "one too many"),
        ("(a BREAK b)", "", "BREAK inside brackets"),
        ("(smile:nan)", "", "no weight that is read"),
        ("{krnk}, {{smile}}", "", "NovelAI weighs"),
        ("1.2::krnk::", "", "NovelAI weighs"),
        ("krnk, smile++", "", "InvokeAI weighs"),
        ("(red hair)-, krnk", "", "InvokeAI weighs"),
        ("krnk ADDCOL blue", "", "Regional Prompter"),
        ("krnk AND_PERP blue", "", "Neutral Prompt"),
        ("[red:blue:-1]", "", "before the first step"),
        ("x <lora:strong 絵:1e30>", "", "no picture"),
    ],
)
def test_what_does_not_act_as_it_looks_is_one_note(host, prompt, negative, said):
    made = host.generate(replace(REQUEST, prompt=prompt, negative=negative, steps=1))
    assert [note for note in made.notes if said in note] != []
    assert made.problems == ()


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("1:step=5-10", "It does not act: its steps begin after the last of 2"),
        ("1:ALL:start=2:stop=4", "begin after the last of 2"),
        ("1:start=0.4:stop=1", "end before they begin"),
        ("1:lbw=0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "none of the blocks"),
    ],
)
def test_a_lora_that_cannot_act_has_one_note(host, lora, items, said):
    unet = replace(lora, adapters={key: one for key, one in lora.adapters.items() if "mid_block" in key})
    write_lora(unet, host.lora_folders[0] / "middle.safetensors", overwrite=True)
    host.loras_changed()
    (note,) = host.generate(replace(REQUEST, prompt=f"x <lora:middle:{items}>", steps=2)).notes
    assert note.startswith("middle: ")
    assert said in note


def test_weights_of_nothing_are_a_wish(host):
    for items in ("0", "1:NONE", "1:ALL", "1:step=0-1"):
        assert host.generate(replace(REQUEST, prompt=f"x <lora:strong 絵:{items}>", steps=2)).notes == ()


def test_ordinary_prompts_have_no_notes(host):
    for prompt in (
        "red apple, (smile:1.2), [dark], [a:b:0.5], [a|b], a AND b:0.5 BREAK c",
        "red <lora:strong 絵:0.8>, (smile) {x}, 12:30 in the morning",
        "[artist:somebody], [:d], (a:3), [a:b:0.5], ;) (smile:１.５) [(a:2):3]",
        r"apple \(fruit\), :d, <3, a/b",
    ):
        assert host.generate(replace(REQUEST, prompt=prompt, steps=1)).notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": "best"}, "Choose one of"),
        ({"width": 100}, "multiple of 64"),
        ({"steps": 0}, "0 is out of range"),
        ({"clip_skip": 4}, "this text encoder has 3 layers"),
        ({"clip_skip": 0}, "from 1 to 3"),
        ({"clip_skip": -1}, "from 1 to 3"),
        ({"prompt": "(smile:1.2.3)"}, "is no number"),
        ({"negative": "(smile:.)"}, "is no number"),
    ],
)
def test_what_cannot_be_right_is_said_before_rendering(host, change, said):
    with pytest.raises(InputError) as caught:
        host.generate(replace(REQUEST, **change))
    assert said in str(caught.value)


def test_a_stop_keeps_finished_pictures(host):
    class After(Stoppable):
        def update(self, done, total, text=""):
            if done >= 4:
                self.stop()

    result = host.generate(replace(REQUEST, batch=70), After())
    assert len(result.images) == 32


def test_a_stop_acts_inside_a_step_and_leaves_no_hook(host):
    class AfterLooks(Progress):
        looks = 0

        @property
        def stopped(self) -> bool:
            self.looks += 1
            return self.looks > 20

    passes = []
    handle = host.model.unet.register_forward_hook(lambda *_: passes.append(1))
    try:
        result = host.generate(REQUEST, AfterLooks())
    finally:
        handle.remove()
    assert (result.images, passes) == ((), [])
    assert not any(module._forward_pre_hooks for module in host.model.unet.modules())
    assert len(host.generate(REQUEST).images) == REQUEST.batch


def test_a_stop_between_pictures_keeps_those_that_were_finished(host, monkeypatch):
    progress, decode = Stoppable(), host.model.decode

    def decode_then_stop(latents):
        progress.stop()
        return decode(latents)

    monkeypatch.setattr(host.model, "decode", decode_then_stop)
    result = host.generate(replace(REQUEST, batch=3), progress)
    assert len(result.images) == len(result.infotexts) == 1


def test_dyn_cuts_ranks_and_keeps_the_scale(lora):
    cut = cut_rank(lora, 2)
    for key, adapter in cut.adapters.items():
        full = lora.adapters[key].factors()
        torch.testing.assert_close(adapter.delta(), (full.up[:, :2] @ full.down[:2]).reshape(full.shape))
    assert all(a.delta().abs().max() == 0 for a in cut_rank(lora, 0).adapters.values())


def test_studio_begins_with_noise_and_refuses_a_picture(host):
    with pytest.raises(InputError, match="begins with noise"):
        host.generate(replace(REQUEST, init=Image.new("RGB", (128, 128))))
