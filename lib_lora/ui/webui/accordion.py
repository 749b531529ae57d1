"""The accordion *LoRA Block Weight* in txt2img and img2img: drawn with the script, wired when the whole page stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.webui import folders, options
from lib_lora.i18n.words import Words
from lib_lora.options import find, options_of
from lib_lora.sentences import say
from lib_lora.ui import block_weight, compat
from lib_lora.ui.compat import gr
from lib_lora.ui.picture_inputs import PictureInputs, chosen_seed
from lib_lora.ui.remember import restore_when_opened
from lib_lora.ui.webui import settings, singletons
from lib_lora.ui.webui.host_page import FIELDS, HostPage, keep_out_of_config

logger = logging.getLogger("lora_atelier")

KNOWN = {one.name: one for one in options_of(GenerateRequest)}
THRESHOLD = find(AnalyzeOptions, "threshold")
WATCHED = ("steps", "sampler", "scheduler", "cfg_scale", "width", "height")
"""What the analyzer's estimate depends on."""


def build(tab: str) -> list[Any]:
    """Return the script's one widget, whether block weights are on; the first time for a page with the accordion.

    The WebUI asks again, in a page that nobody sees, where its API wants to know what the widgets say at the start.
    Nothing is raised: the WebUI's API would not start.
    """
    page = singletons.page()
    if page is not None and tab not in page.asked:
        page.asked.add(tab)
        try:
            return [_draw(tab, page).active]
        except Exception:  # the outermost hook: without the accordion everything else still works
            logger.exception("LoRA Atelier: the accordion of %s cannot be shown", tab)
    return [gr.Checkbox(True, label=Words("en")("block_weight.active"), visible=False)]


def _draw(tab: str, page: HostPage) -> block_weight.BlockWeightPanel:
    panel = block_weight.draw(
        singletons.atelier(),
        settings.words(),
        place=tab,
        others=folders.others_presets(),
        threshold=int(min(THRESHOLD.high, max(THRESHOLD.low, options.option("threshold", THRESHOLD.default)))),
        prompt_id=f"{tab}_prompt",
        watched=[f"{tab}_{FIELDS[name]}" for name in WATCHED],
    )
    keep_out_of_config(panel.accordion)
    page.panels[tab] = (panel, compat.page_being_built())
    return panel


def wire(page: HostPage) -> None:
    """Wire the accordions of a page to the WebUI's widgets, wherever its user has put those."""
    atelier = singletons.atelier()
    for tab, (panel, blocks) in page.panels.items():
        found = page.found[tab]
        if "prompt" not in found:
            continue
        picture = picture_of(tab, found, settings.words(), host_samplers=lambda: atelier.host.samplers)
        with compat.again_in(blocks):
            block_weight.wire(
                panel,
                found["prompt"],
                picture,
                changed=panel.watch.change,
                settings=[panel.analyzer.watch.change],
            )
            told = restore_when_opened(atelier, blocks)
            if told is not None:
                keep_out_of_config(told)


def picture_of(
    tab: str, found: dict[str, Any], words: Words, *, host_samplers: Callable[[], Sequence[str]]
) -> PictureInputs:
    """Return the WebUI's own settings of a picture as the analyzer takes them."""
    names = [name for name in FIELDS if name in found and name not in ("prompt", "init")]
    heavy = ["init"] if "init" in found and tab == "img2img" else []

    def request(prompt: str, *values: Any) -> GenerateRequest:
        given = dict(zip([*names, *heavy], values, strict=False))  # without the heavy ones where only time is asked
        if tab == "img2img" and len(values) >= len(names) + len(heavy) and given.get("init") is None:
            cure = say("Put one into the first tab of img2img; sketch and inpaint are not analyzed.")
            raise InputError("There is no picture to begin with", cure=cure)
        return GenerateRequest(
            prompt=prompt,
            negative=str(given.get("negative") or ""),
            seed=chosen_seed(given.get("seed")),
            steps=compat.number(given.get("steps"), KNOWN["steps"].default),
            cfg_scale=compat.number(given.get("cfg_scale"), KNOWN["cfg_scale"].default),
            width=compat.number(given.get("width"), 0, int) or None,
            height=compat.number(given.get("height"), 0, int) or None,
            sampler=str(given.get("sampler") or next(iter(host_samplers()), "")),
            scheduler=str(given.get("scheduler") or ""),
            clip_skip=options.clip_skip(),
            init=given.get("init"),
            denoise=compat.number(given.get("denoise"), GenerateRequest.denoise),
        )

    return PictureInputs([found[name] for name in names], request, heavy=[found[name] for name in heavy])
