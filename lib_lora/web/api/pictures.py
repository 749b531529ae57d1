"""The Effective Block Analyzer over HTTP: an order becomes a job of the desk, as in the panel."""

from __future__ import annotations

from typing import Any

from lib_lora.analysis.effective_block import parse_range
from lib_lora.host.base import GenerateRequest, check_clip_skip
from lib_lora.services.analysis import KIND, Fields, order_of, run
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.speed import Speed
from lib_lora.web.api.call import REQUIRED, Call, Field, Route
from lib_lora.web.api.shared import job_row

SIDE = 4096


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the analyzer's route; status, stop and result are those of its job."""
    facts, speed = FileFacts.confined(atelier), Speed(atelier.folders.data / "speed.json")

    def analyze(call: Call) -> Any:
        examined, others = parse_range(call["range"])
        fields = Fields(
            examined,
            others,
            also=[parse_range(str(each)) for each in call["also"]],
            entries=call["blocks"],
            seeds=call["seeds"],
            threshold=call["threshold"],
            colour=call["color"],
            gain=call["gain"],
            rows=call["rows"],
        )
        check_clip_skip(call["clip_skip"], atelier.host.model)
        order = order_of(request_of(call), call["lora"], fields, atelier.host, facts)
        job = atelier.desk.submit(
            KIND,
            order.request.prompt,
            lambda job: run(order, atelier.host, job, outputs=atelier.folders.outputs, speed=speed),
        )
        return {**job_row(atelier, job, call.language), "pictures": order.pictures}

    return (
        Route(
            "POST",
            "/analyze",
            analyze,
            "Analyse which block of a LoRA does what; returns the job that does it.",
            PICTURE + ANALYSIS,
            status=202,
        ),
    )


def request_of(call: Call) -> GenerateRequest:
    """Return the order for pictures that the fields describe."""
    return GenerateRequest(
        prompt=call["prompt"],
        negative=call["negative"],
        seed=call["seed"],
        steps=call["steps"],
        cfg_scale=call["cfg_scale"],
        width=call["width"],
        height=call["height"],
        clip_skip=call["clip_skip"],
        strict=call["strict"],
        scheduler=call["scheduler"],
        **({"sampler": call["sampler"]} if call["sampler"] else {}),
    )


PICTURE = (
    Field("prompt", str, "text with at least one LoRA tag", REQUIRED),
    Field("negative", str, "negative prompt", ""),
    Field("seed", int, "seed of the first picture", 0, low=0, high=2**32 - 1),
    Field("steps", int, "sampling steps", 20, low=1, high=1000),
    Field("cfg_scale", float, "guidance scale", 4.0, low=0, high=100),
    Field("width", int, "px; without it what the model was trained at", low=8, high=SIDE),
    Field("height", int, "px; without it what the model was trained at", low=8, high=SIDE),
    Field("sampler", str, "name of the sampler; without it the usual one", ""),
    Field("scheduler", str, "how the noise levels are spaced, by the host's name; without it the sampler's own", ""),
    Field("clip_skip", int, "layer of the text encoder from the end; at most as many as it has", 1),
    Field("strict", bool, "make nothing where a LoRA tag cannot be used; else without that LoRA", False),
)

ANALYSIS = (
    Field("lora", str, "name of the LoRA to analyse where no tag carries XYZ; without it the first one", ""),
    Field("range", str, "value of the examined block, value of all others", "0,1"),
    Field("also", list, "more ranges in the same run", ()),
    Field("blocks", str, "e.g. 26ALL, or IN04,M00,OUT03-OUT05; without it the blocks of the file", ""),
    Field("seeds", int, "how many seeds, counted up", 1, low=1, high=100),
    Field("threshold", int, "level difference that counts", 20, low=0, high=255),
    Field("color", str, "background of the difference pictures", "black", choices=("black", "white")),
    Field("gain", float, "contrast of the difference pictures; 0: the largest change is visible", 0.0, low=0, high=100),
    Field("rows", bool, "one row a block instead of one column", False),
)
