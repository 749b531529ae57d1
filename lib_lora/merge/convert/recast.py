"""Another precision for a file whose names stay as they are."""

from __future__ import annotations

from dataclasses import replace

from lib_lora.errors import InputError
from lib_lora.formats.lora import WholeFile, all_finite
from lib_lora.formats.peft import HEADER_KEY
from lib_lora.merge.convert.convert import Converted, measured
from lib_lora.merge.precision import TYPES, Precision
from lib_lora.merge.recipe import hashed, merged
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def recast(source: WholeFile, precision: Precision, progress: Progress = QUIET) -> Converted:
    """Return a LoRA with its numbers in another precision, under the file's own names; alphas and extras stay.

    ``progress`` is told of every module, and may stop it.

    Raises:
        InputError: a number is too large for the precision.
        StoppedError: somebody asked to stop.
    """
    lora, dtype = source.lora, TYPES[precision]
    tensors = dict(source.tensors)
    for name, key in source.found.keys.items():
        tensor = tensors[name]
        if tensor.is_floating_point() and tensor.numel() > 1:
            tensors[name] = tensor.to(dtype)
            if not all_finite(tensors[name]):
                what = say("Numbers are too large for {kind}", kind=precision)
                raise InputError(what, where=key, cure="Save as bf16 or fp32.")
    after = {}
    for done, (key, adapter) in enumerate(lora.adapters.items(), start=1):
        after[key] = adapter.to(dtype=dtype)
        progress.passed(done, len(lora.adapters), say("converting"))
    made = merged(replace(lora, adapters=after), lora, {"op": "convert", "precision": precision, **hashed(lora)})
    if HEADER_KEY in source.metadata:
        made.metadata[HEADER_KEY] = source.metadata[HEADER_KEY]
    pairs = {key: (adapter, after[key]) for key, adapter in lora.adapters.items()}
    report, largest = measured(pairs, lora.family, size=lora.size)
    return Converted(tensors, made.metadata, made, "", report, largest, ())
