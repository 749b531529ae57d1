"""Blocks in the running host: the planner's whole way, the finder, tiers that draw nothing, strengths over steps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from lib_lora.formats.lora import read_lora, write_lora
from tests.webui.live import LiveHost
from tests.webui.material import make_lora
from tests.webui.test_api_live import BASE, finished
from tests.webui.test_panels_live import LONG, complaints, expect_text, said, sideways, tab, unfold
from tests.webui.test_tags_live import UNET as UNET_ALONE
from tests.webui.test_tags_live import furthest, same, tagged
from tests.webui.test_training_live import clean as cleaned

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

FREE = ("IN04", "M00")
NEW_WORDS = itertools.count()
VECTOR = re.compile(r"^[\d.]+(,[\d.]+){16}$")


@pytest.fixture(scope="module")
def gentle(webui: LiveHost, live_layers: Any) -> str:
    """A LoRA that says what triggers it, in the host's list."""
    lora = make_lora(live_layers, seed=5, size=0.02)
    lora.metadata = {"modelspec.trigger_phrase": "krnk"}
    write_lora(lora, webui.loras / "gentle.safetensors", overwrite=True)
    webui.refresh_loras()
    return "gentle"


@pytest.fixture
def blocks_of(open_page: Callable[..., Page], gentle: str) -> Callable[..., Page]:
    """Opens the Workshop's Blocks with the LoRA chosen."""

    def opened() -> Page:
        page = open_page()
        tab(page, "LoRA Workshop")
        file = page.locator("#atelier_workshop_file input").first
        file.click()
        file.fill(gentle)
        page.locator("ul.options li", has_text=re.compile(rf"^\W*{gentle}\s*$")).first.click()
        page.locator(".atelier-plan-cell").nth(16).wait_for(timeout=LONG)
        return page

    return opened


def clean(webui: LiveHost) -> Any:
    """Return picture and model as `test_training_live.clean`, after words that the host has not encoded yet.

    A1111 takes a LoRA out of its text encoder when that is asked again, not before.
    """
    webui.txt2img(prompt=f"{next(NEW_WORDS)} apples", steps=1)
    return cleaned(webui)


def box(page: Page, ident: str) -> Locator:
    return page.locator(f"#atelier_{ident} textarea, #atelier_{ident} input:not([type=range])").first


def type_into(page: Page, ident: str, text: str) -> None:
    box(page, ident).fill(text)
    box(page, ident).press("Tab")
    page.wait_for_timeout(500)


def has_value(place: Locator, wanted: str | re.Pattern[str], timeout: float = LONG) -> str:
    from playwright.sync_api import expect

    expect(place).to_have_value(wanted, timeout=timeout)
    return place.input_value()


def cell(page: Page, block: str, part: str) -> Locator:
    return page.locator(f'.atelier-plan-cell[data-block="{block}"] .atelier-plan-{part}')


def variant(page: Page, block: str, value: str, part: str) -> Locator:
    return page.locator(f'.atelier-variant[data-block="{block}"][data-value="{value}"] .atelier-plan-{part}')


def presets_of(webui: LiveHost) -> str:
    path = webui.data / "lora-atelier" / "lbwpresets.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def save_preset(page: Page, name: str) -> None:
    box(page, "workshop_preset_name").wait_for(timeout=LONG)
    type_into(page, "workshop_preset_name", name)
    page.locator("#atelier_workshop_save_preset").click()
    expect_text(said(page, "atelier_workshop_blocks_said"), name)


def prompt_has(page: Page, tag: str) -> None:
    page.wait_for_function(
        "tag => gradioApp().querySelector('#txt2img_prompt textarea').value.includes(tag)", arg=tag, timeout=LONG
    )


def generated(page: Page) -> str:
    """Press the host's Generate and return what stands below the picture."""
    page.locator("#txt2img_generate").click()
    return expect_text(said(page, "html_info_txt2img"), "Steps: ", LONG)


def baked(page: Page, webui: LiveHost, press: str) -> str:
    """Bake from the Blocks tab; return the new file's name, which stands in the host's list."""
    tab(page, "LoRA Workshop")
    page.locator(f"#atelier_{press}").click()
    name = has_value(box(page, "workshop_name"), re.compile("gentle"))
    page.locator("#atelier_workshop_save").click()
    expect_text(said(page, "atelier_workshop_merge_message"), re.escape(f"{name}.safetensors"), LONG)
    assert name in webui.refresh_loras()
    return name


def test_from_a_plan_over_the_hosts_pictures_to_preset_prompt_and_file(blocks_of, webui: LiveHost) -> None:
    page = blocks_of()
    names = page.locator(".atelier-plan").get_attribute("data-names").split(",")
    has_value(box(page, "plan_prompt"), "krnk")
    page.locator(".atelier-plan-act[data-act=fix_all]").click()
    for block in FREE:
        cell(page, block, "fix").uncheck()
    page.locator(".atelier-plan-mode").select_option("subadd")
    page.locator(".atelier-plan-step").fill("0.25")
    expect_text(said(page, "atelier_plan_estimate"), "5")
    page.get_by_text("Steps, size, negative prompt", exact=True).click()
    for ident, value in {"steps": "2", "width": str(webui.side), "height": str(webui.side)}.items():
        type_into(page, f"plan_{ident}", value)
    before, trace = presets_of(webui), clean(webui)
    page.locator("#atelier_plan_start").click()
    page.locator(".atelier-variant").nth(4).wait_for(timeout=LONG)
    expect_text(said(page, "atelier_plan_status"), "5 saved in", LONG)

    variant(page, "IN04", "0.75", "take").click()
    wanted = ",".join("0.75" if name == "IN04" else "1" for name in names)
    has_value(box(page, "workshop_vector"), wanted)
    assert cell(page, "IN04", "fix").is_checked()
    variant(page, "M00", "1.25", "take").click()
    has_value(box(page, "workshop_vector"), re.compile("1.25"))
    page.locator(".atelier-plan-act[data-act=undo]").click()
    has_value(box(page, "workshop_vector"), wanted)
    assert not cell(page, "M00", "fix").is_checked()
    page.locator(".atelier-plan-act[data-act=next]").click()
    page.wait_for_function("document.querySelectorAll('.atelier-variant').length === 3", timeout=LONG)
    assert presets_of(webui) == before
    assert clean(webui) == trace

    page.get_by_text("Save these weights as a preset", exact=True).click()
    save_preset(page, "LIVE_SHAPE")
    assert f"LIVE_SHAPE:{wanted}" in presets_of(webui)
    page.locator("#atelier_workshop_blocks_use").click()
    prompt_has(page, "<lora:gentle:1:LIVE_SHAPE>")
    page.locator("#txt2img_prompt textarea").fill("krnk <lora:gentle:1:LIVE_SHAPE>")
    for ident, value in (("steps", 2), ("width", webui.side), ("height", webui.side)):
        page.locator(f"#txt2img_{ident} input[type=number]").fill(str(value))
        page.locator(f"#txt2img_{ident} input[type=number]").press("Tab")
    assert "LoRA block weights" in generated(page)
    assert sideways(page) == 0

    name = baked(page, webui, "workshop_blocks_bake")
    assert len(read_lora(webui.loras / f"{name}.safetensors").adapters) > 100
    live = tagged(webui, "<lora:gentle:1:LIVE_SHAPE>")
    assert furthest(live, tagged(webui, f"<lora:{name}:1>")) <= 2
    assert furthest(live, tagged(webui, "")) > 5
    assert complaints(page) == []


def test_found_weights_go_from_the_hosts_model_to_planner_preset_and_prompt(blocks_of, webui: LiveHost) -> None:
    page, trace = blocks_of(), clean(webui)
    unfold(page, "atelier_find_box")
    unfold(page, "atelier_find_more")
    for ident, text in {"neutral": "ghost\nninja", "rounds": "1", "levels": "1", "rendered": "2", "seeds": "1"}.items():
        type_into(page, f"find_{ident}", text)
    expect_text(said(page, "atelier_find_estimate"), r"\d")
    page.locator("#atelier_find_start").click()
    page.locator("#atelier_find_result img.atelier-found-picture").wait_for(timeout=LONG * 3)
    assert page.locator("#atelier_find_result .atelier-found-weights span").count() == 17
    page.locator("#atelier_find_take").click()
    expect_text(said(page, "atelier_find_said"), "planner")
    found = has_value(box(page, "workshop_vector"), VECTOR)
    page.locator("#atelier_find_save").click()
    save_preset(page, "LIVE_FOUND")
    assert f"LIVE_FOUND:{found}" in presets_of(webui)
    page.locator("#atelier_find_use").click()
    prompt_has(page, f"<lora:gentle:1:lbw={found}>")
    assert clean(webui) == trace
    assert complaints(page) == []


def test_a_search_over_rest_measures_on_what_was_held_out(webui: LiveHost, gentle: str) -> None:
    trace = clean(webui)
    body = {"lora": gentle, "neutral": ["ghost", "ninja"], "rounds": 1, "levels": 1, "rendered": 2, "seeds": 0}
    found = finished(webui, webui.post(f"{BASE}/fit", {**body, "keep": 0.9}))
    assert len(found["weights"]) == 17
    assert found["kept"] >= 0.899
    held = found["held_out"]
    assert held["ALL"]["drift_of_all"] == 1
    assert held["found"]["drift"] < held["ALL"]["drift"]
    assert clean(webui) == trace
    assert furthest(tagged(webui, found["tag"]), tagged(webui, f"<lora:{gentle}:1>")) > 0


def test_the_tiers_that_draw_nothing_ask_the_hosts_own_weights_and_model(webui: LiveHost, gentle: str) -> None:
    trace = clean(webui)
    body = {"prompt": "", "lora": "plain", "beside": ["other"], "tier": "norms"}
    (norms,) = finished(webui, webui.post(f"{BASE}/analyze", body))["tiers"]
    rows = norms["blocks"].values()
    assert sum(row["modules"] for row in rows) == 17
    filled = [row for row in rows if row["modules"]]
    assert all(row["relative"]["mean"] > 0 for row in filled)
    assert sum(row["share"]["mean"] for row in filled) == pytest.approx(100, abs=0.1)
    assert all(abs(row["cosine_1"]["mean"]) < 0.5 for row in filled)

    body = {"prompt": f"krnk <lora:{gentle}:1>", "tier": "prediction", "blocks": "IN04,M00", "seed": 1}
    body |= {"neutral": ["ghost"], "levels": 3}
    answer = finished(webui, webui.post(f"{BASE}/analyze", body))
    prediction = next(one for one in answer["tiers"] if one["tier"] == "prediction")
    filled = {name: row for name, row in prediction["blocks"].items() if row["modules"]}
    assert set(filled) == {"IN04", "M00"}
    assert all(row["influence"]["mean"] > 0 and row["influence"]["spread"] is not None for row in filled.values())
    assert all(row["neutral"]["mean"] > 0 for row in filled.values())
    assert all(sum(key.startswith("influence_") for key in row) == 3 for row in filled.values())
    assert answer["agreement"][0]["blocks"] == 2
    assert clean(webui) == trace


def made_with(webui: LiveHost, strength: str, *, steps: int = 6, rest: str = "", **order: Any) -> Any:
    return tagged(webui, f"<lora:plain:1:{strength}:lbw={UNET_ALONE}{rest}>", steps=steps, **order)


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_strengths_over_the_steps_are_those_of_the_sampler(webui: LiveHost, sampler: str) -> None:
    """Strengths that change are added to a layer's output and steady ones folded, so the two round otherwise."""
    order = {"sampler_name": sampler}
    steady, none = made_with(webui, "1", **order), made_with(webui, "0", **order)
    assert furthest(steady, none) > 5
    assert furthest(made_with(webui, "1@0", **order), steady) <= 1
    assert same(made_with(webui, "0@0,0@1", **order), none)
    first_half = made_with(webui, "1", rest=":stop=3", **order)
    for spelling in ("1@0.5,0@0.5", "1@3,0@3", "[1@0,1@0.5,0@0.5]"):
        assert furthest(made_with(webui, spelling, **order), first_half) <= 1, spelling
    for rest in (":end=0.5", ":0-3", ":step=0-0.5"):
        assert same(made_with(webui, "1", rest=rest, **order), first_half), rest
    second_half = made_with(webui, "1", rest=":start=0.5", **order)
    assert furthest(made_with(webui, "0@3,1@3", **order), second_half) <= 1
    ramp = made_with(webui, "0@0,1@1", **order)
    others = (steady, none, first_half, second_half)
    assert min(furthest(ramp, one) for one in others) > 1
    assert furthest(first_half, second_half) > 1
    assert same(made_with(webui, "1", **order), steady)


def test_a_schedule_comes_back_from_the_pictures_own_text(webui: LiveHost) -> None:
    made = webui.txt2img(prompt="1girl <lora:plain:0:0.2@0,1@0.5:lbw=FACE:stop=0.9>", steps=6)
    written = made.infotexts[0].split('LoRA block weights: "')[1].split('"')[0]
    assert "@" in written
    assert same(webui.txt2img(prompt=f"1girl {written}", steps=6).image, made.image)


def test_hires_has_a_schedule_of_its_own(webui: LiveHost) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6, "steps": 4}
    if webui.kind == "forge":
        hires["hr_additional_modules"] = ["Use same choices"]
    tags = {rest: f"<lora:plain:0:1:lbw={UNET_ALONE}{rest}>" for rest in ("", ":hr=0", ":hrunet=1@0,0@0", ":hr=1")}
    pictures = {rest: webui.txt2img(prompt=f"1girl {tag}", **hires).image for rest, tag in tags.items()}
    assert same(pictures[":hr=0"], pictures[":hrunet=1@0,0@0"])
    assert not same(pictures[":hr=0"], pictures[""])
