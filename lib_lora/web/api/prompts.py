"""Presets, and what a prompt's tags mean in numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.layouts import blocked_families
from lib_lora.blocks.tag import Moment, ResolvedTag, format_tag
from lib_lora.blocks.tag_model import Strengths
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.limits import check_prompt
from lib_lora.host.request import LARGEST_SEED, GenerateRequest
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.options import Option, options_of
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.presets import presets_path, save_preset, save_presets
from lib_lora.services.prompt_tags import Meaning, meaning_of
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import lora_file


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of presets and prompts."""
    families = blocked_families()

    def presets(call: Call) -> Any:
        return presets_row(atelier, call.language)

    def save(call: Call) -> Any:
        if call["text"] is not None:
            save_presets(atelier, call["text"])
        elif call["name"] is None or call["values"] is None:
            cure = say("Give name and values, or text for the whole file.")
            raise InputError("There is nothing to save", cure=cure)
        else:
            save_preset(atelier, call["name"], call["values"], replace=call["replace"])
        return presets_row(atelier, call.language)

    def resolved(call: Call) -> Any:
        family = call["family"] or atelier.host.model.family
        check_prompt(call["prompt"], "prompt")
        check_prompt(call["negative"], "negative")
        find, seed = partial(lora_file, atelier), call["seed"]
        meaning = meaning_of(call["prompt"], call["negative"], atelier.host.presets, family, seed=seed, find=find)
        return resolved_row(meaning, call.language)

    return (
        Route("GET", "/presets", presets, "List the block weight presets, and the text of their file."),
        Route(
            "POST",
            "/presets",
            save,
            "Save one preset, or the whole text of the preset file; the file before becomes a backup.",
            (
                Option("name", str, "Name of one preset.", None),
                Option("values", str, "Its values, separated by commas; the family says how many.", None),
                Option("replace", bool, "Replace a preset of this name.", False),
                Option("text", str, "The whole file, instead of one preset.", None),
            ),
        ),
        Route(
            "POST",
            "/resolve",
            resolved,
            "Return what the LoRA tags of a prompt mean: every block's number, and each tag's problem.",
            (
                *options_of(GenerateRequest, only=("prompt", "negative")),
                Option("family", str, "Family of the model; without it the loaded one's.", None, choices=families),
                Option("seed", int, "Draws the values of R and U.", 0, low=0, high=LARGEST_SEED),
            ),
        ),
    )


def presets_row(atelier: Atelier, language: str) -> dict[str, Any]:
    """Return the presets as JSON, with the lines that cannot be right."""
    file = atelier.host.presets
    rows = [
        {
            "name": preset.name,
            "family": preset.layout.family,
            "length": preset.layout.length,
            "values": preset.written,
            "line": preset.line,
        }
        for preset in file.presets
    ]
    problems = [
        {
            "line": problem.line,
            "what": sentence_in_words(problem.what, language),
            "cure": sentence_in_words(problem.cure, language),
            "fatal": problem.fatal,
        }
        for problem in file.problems
    ]
    return {"presets": rows, "text": file.text, "problems": problems, "file": presets_path(atelier).name}


def resolved_row(meaning: Meaning, language: str) -> dict[str, Any]:
    """Return a prompt's tags in numbers; a tag that cannot be right has a problem and harms no other."""
    return {
        "prompt": meaning.prompt,
        "family": meaning.family,
        "tags": [{"tag": one.text, **tag_row(one.tag, meaning.family, language)} for one in meaning.tags],
        "problems": [problem_row(tag, error, language) for tag, error in meaning.problems],
        "notes": [sentence_in_words(note, language) for note in meaning.notes],
    }


def problem_row(tag: str, error: AtelierError, language: str) -> dict[str, Any]:
    """Return what is wrong with a tag; ``caret`` shows the place in it, null where it is no matter of one character."""
    caret = error.caret() if isinstance(error, PositionError) else None
    return {"tag": tag, **error_row(error, language), "caret": caret}


def tag_row(tag: ResolvedTag, family: str, language: str) -> dict[str, Any]:
    """Return one tag in numbers; ``written`` is the tag with its vector written out, null where it cannot be."""
    sweeps = tag.sweep is not None
    return {
        "name": tag.name,
        **_strengths(Strengths(tag.te, tag.unet, tag.frames)),
        "hires": None if tag.hires is None else _strengths(tag.hires),
        "dyn": tag.dyn,
        "weights": None if tag.weights is None else tag.weights.as_dict(),
        "multipliers": None if sweeps else dict(tag.multipliers(family)),
        "start": _moment(tag.start),
        "stop": _moment(tag.stop),
        "elements": tag.elements.name if tag.elements else None,
        "sweep": tag.sweep,
        "filled": list(tag.filled),
        "notes": [sentence_in_words(note, language) for note in tag.notes],
        "written": format_tag(tag),
    }


def _strengths(of: Strengths) -> dict[str, Any]:
    return {"te": of.te, "unet": of.unet, "frames": None if of.frames is None else of.frames.format()}


def _moment(moment: Moment | None) -> str | None:
    return None if moment is None else moment.format()
