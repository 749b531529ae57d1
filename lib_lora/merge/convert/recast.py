"""Another precision for a file whose names stay as they are."""

from __future__ import annotations

from dataclasses import replace

from lib_lora.errors import InputError
from lib_lora.formats.adapters.on_disk import TensorScratch
from lib_lora.formats.lora import WholeFile, all_finite
from lib_lora.formats.peft import HEADER_KEY
from lib_lora.merge.convert.convert import Converted, Measured
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
    lora, dtype, tensors = source.lora, TYPES[precision], TensorScratch()
    for name in source.tensors:
        tensor, key = source.tensors[name], source.found.keys.get(name)
        if key is not None and tensor.is_floating_point() and tensor.numel() > 1:
            tensor = tensor.to(dtype)
            if not all_finite(tensor):
                what = say("Numbers are too large for {kind}", kind=precision)
                raise InputError(what, where=key, cure="Save as bf16 or fp32.")
        tensors[name] = tensor
    measured, after = Measured(lora.family), {}
    for done, (key, adapter) in enumerate(lora.adapters.items(), start=1):
        saved = adapter.to(dtype=dtype)
        measured.add(key, adapter, saved)
        after[key] = saved.to(device="meta")
        progress.passed(done, len(lora.adapters), say("converting"))
    made = merged(replace(lora, adapters=after), lora, {"op": "convert", "precision": precision, **hashed(lora)})
    made.family = lora.family
    if HEADER_KEY in source.metadata:
        made.metadata[HEADER_KEY] = source.metadata[HEADER_KEY]
    return Converted(tensors, made.metadata, made, "", measured.report(lora.size), measured.largest, ())
