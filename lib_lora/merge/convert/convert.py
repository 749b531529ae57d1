"""The same LoRA in another program's names, form and precision: what only changes its name keeps every bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from lib_lora.architectures.registry import find_architecture
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import TensorScratch
from lib_lora.formats.forms import ALPHA_FOLDED, ALPHA_TOLD, Form, part_of, spelled
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, WholeFile, all_finite, in_order_of_blocks
from lib_lora.formats.metadata import complete
from lib_lora.merge.convert.config import peft_config
from lib_lora.merge.convert.fused import Settled, settle
from lib_lora.merge.convert.parts import held, renamed
from lib_lora.merge.precision import TYPES, Precision, squared_error, squared_size
from lib_lora.merge.recipe import hashed, merged
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say


@dataclass(frozen=True)
class Converted:
    """A LoRA in another form, not yet saved.

    Attributes:
        tensors: by the form's names.
        metadata: with the recipe, without what only a file's name tells.
        lora: the same adapters by kohya's names, without their numbers.
        config: the text of PEFT's ``adapter_config.json``; "" where the form has none.
        report: by block; its errors are those of rounding.
        largest: the largest relative error of a module.
        notes: what was done besides renaming, in sentences.
    """

    tensors: Mapping[str, Tensor]
    metadata: dict[str, str]
    lora: LoraFile
    config: str
    report: MergeReport
    largest: float
    notes: tuple[str, ...]

    def named(self, name: str) -> dict[str, str]:
        """Return the metadata of a file of this name."""
        found = complete(self.metadata, self.lora.adapters, family=self.lora.family, name=name)
        return {"format": "pt", **found} if self.config else found


@dataclass(frozen=True)
class _Module:
    """One module on its way: its change before rounding, after it, and its tensors by kohya's names."""

    before: Adapter
    after: Adapter
    parts: dict[str, Tensor]


def convert(source: WholeFile, form: Form, precision: Precision | None = None, progress: Progress = QUIET) -> Converted:
    """Return a LoRA in another form.

    Every change stays what it is: renamed tensors keep their bits; what the form asks for besides (alpha multiplied
    into the numbers, a Tucker core expanded, q, k and v put together or taken apart) is told in notes, and what its
    rounding costs in the report.

    Args:
        source: the file.
        form: the names that it is to have.
        precision: of its numbers; None: as they are.
        progress: is told of every module, and may stop it.

    Raises:
        InputError: the form cannot hold some change or the embeddings in the file, a module's path is not known, or a
            number is too large.
        StoppedError: somebody asked to stop.
    """
    lora, family = source.lora, source.lora.family
    known = find_architecture(family)
    _refuse_extras(lora, form)
    settled = settle(lora.adapters, known.transformer if known else None, native=form.native is not False)
    parts = {part_of(key, family) for key in settled.adapters}
    if form.text == "" and (len(parts) > 1 or (form.alpha != ALPHA_TOLD and parts != {"unet"})):
        what = say("A file in the form {form} is of one model, this one changes several", form=form.name)
        cure = say("Split it into its parts first.")
        if len(parts) == 1:
            what = say("A file in the form {form} cannot be of a text encoder", form=form.name)
            cure = say("Choose another form.")
        raise InputError(what, where=lora.name, cure=cure)
    names, strange = _names(settled, family, form)
    tensors = TensorScratch()
    tensors.update({name: source.tensors[name] for name in source.found.extras})
    measured, counts, after = Measured(family), _Counts(), {}
    for done, (key, adapter) in enumerate(settled.adapters.items(), start=1):
        raw = source.module(key) if key in lora.adapters and key not in settled.sources else None
        module = _module(adapter, raw, form, precision)
        measured.add(key, module.before, module.after)
        counts.add(module)
        after[key] = module.after.to(device="meta")
        for part, tensor in renamed(module.after, module.parts, form).items():
            tensors[f"{names[key]}.{part}" if names[key] else part] = tensor
        progress.passed(done, len(settled.adapters), say("converting"))
    new = LoraFile(after, extras=lora.extras)
    step = {"op": "convert", "form": form.name, **({"precision": precision} if precision else {}), **hashed(lora)}
    made = merged(new, lora, step)
    made.family = family
    config = ""
    if form.alpha == ALPHA_TOLD:
        paths = {names[key].removeprefix(form.unet): one for key, one in after.items()}
        config = peft_config(paths, part=parts.pop(), unet=known is not None and known.unet is not None)
    notes = (*_notes(settled, counts, form), *strange)
    return Converted(tensors, made.metadata, made, config, measured.report(lora.size), measured.largest, notes)


def _refuse_extras(lora: LoraFile, form: Form) -> None:
    if lora.extras and (form.peft or form.text == ""):
        what = say(
            "The form {form} cannot hold the {n} {n:tensor|tensors} that {n:is|are} none of a LoRA's",
            form=form.name,
            n=len(lora.extras),
        )
        raise InputError(what, where=min(lora.extras), cure="Prune them first, or choose another form.")


def _names(settled: Settled, family: str, form: Form) -> tuple[dict[str, str], list[Sentence]]:
    """Return every module's name in the form, and a note on modules that keep theirs because nobody knows another."""
    names, unknown = {}, []
    for key in settled.adapters:
        name = spelled(key, family, form)
        names[key] = name or ""
        unknown += [key] if name is None else []
    if unknown:
        what = say(
            "{n} of {all} modules fit no layer of {family} models, so their names in the form {form} are not known",
            n=len(unknown),
            all=len(names),
            family=family,
            form=form.name,
        )
        cure = say("Prune them first, or choose one of kohya's forms.")
        raise InputError(what, where=unknown[0], cure=cure)
    twice = [key for key, name in names.items() if list(names.values()).count(name) > 1] if _repeats(names) else []
    if twice:
        what = say("The file changes one layer under the names of two programs")
        raise InputError(what, where=twice[0], cure="Take the changes of one program's names away first.")
    known = find_architecture(family)
    kept = [key for key in names if known is not None and known.unet is not None and known.find(key) is None]
    if not kept:
        return names, []
    return names, [
        say(
            "{n} {n:module|modules} that fit no layer of {family} keep their names (e.g. {example}).",
            n=len(kept),
            family=family,
            example=kept[0],
        )
    ]


def _repeats(names: Mapping[str, str]) -> bool:
    return len(set(names.values())) < len(names)


def _module(adapter: Adapter, raw: Mapping[str, Tensor] | None, form: Form, precision: Precision | None) -> _Module:
    """Return a module in the form; tensors of a file that only get another name are the file's own."""
    exact = adapter if precision is None else adapter.to(dtype=torch.float32)
    fit = held(exact, form)
    after = fit if precision is None else fit.to(dtype=TYPES[precision])
    own = adapter.tensors()
    if fit is adapter and raw is not None and _same_parts(own, raw):
        return _Module(adapter, adapter, {**own, **raw})
    if not all(map(all_finite, after.parameters())):
        kind = precision or str(_first_type(after)).removeprefix("torch.")
        raise InputError("Numbers are too large for {kind}", kind=kind, where=adapter.key, cure="Save as bf16 or fp32.")
    return _Module(adapter, after, after.tensors())


def _same_parts(own: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> bool:
    """Whether a file has the parts that an adapter would be written with, in their shapes; alpha may be missing."""
    return own.keys() | {"alpha"} == raw.keys() | {"alpha"} and all(
        own[name].shape == raw[name].shape for name in own if name != "alpha"
    )


def _first_type(adapter: Adapter) -> torch.dtype:
    return adapter.parameters()[-1].dtype


class Measured:
    """What rounding made of a file's changes, module by module."""

    def __init__(self, family: str) -> None:
        self._family, self._results, self.largest = family, list[ModuleResult](), 0.0

    def add(self, key: str, before: Adapter, after: Adapter) -> None:
        """Measure one module; ``largest`` is the largest relative error of one."""
        wanted = squared_size(before)
        error = 0.0 if after is before else squared_error(before, after)
        self.largest = max(self.largest, sqrt(error / wanted) if wanted else 0.0)
        block = block_of_key(key, self._family)
        self._results.append(ModuleResult(block, before.rank, after.rank, wanted=wanted, kept=wanted, error=error))

    def report(self, size: int) -> MergeReport:
        """Return the report; ``size`` is that of the tensors before."""
        blocks = in_order_of_blocks({result.block: result for result in self._results}, self._family)
        return MergeReport(rows_of(self._results, list(blocks)), size, 0, ())


@dataclass
class _Counts:
    """How many modules had a Tucker core that was expanded, and how many a scale."""

    cores: int = 0
    scaled: int = 0

    def add(self, module: _Module) -> None:
        self.cores += "lora_mid.weight" in module.before.tensors() and module.after is not module.before
        self.scaled += _scale(module.before) != 1


def _notes(settled: Settled, counts: _Counts, form: Form) -> Iterable[Sentence]:
    """Yield what was done besides renaming and rounding."""
    if settled.parted:
        yield say("{n} {n:layer|layers} with q, k and v in one became several.", n=settled.parted)
    if settled.fused:
        yield say("q, k and v became one layer in {n} places.", n=settled.fused)
    if settled.swapped:
        yield say("The halves of the last modulation changed places, as the other program has them.")
    if settled.rewritten.layers:
        yield say(
            "{n} {n:layer|layers} ({kinds}) could not keep {n:its|their} kind in the other program's layers and became "
            "plain LoRAs or full differences with the same change: {after:.3g} million numbers in place of "
            "{before:.3g} million.",
            n=settled.rewritten.layers,
            kinds=sorted(settled.rewritten.kinds),
            before=settled.rewritten.before / 1e6,
            after=settled.rewritten.after / 1e6,
        )
    if counts.cores and form.peft:
        yield say("The Tucker cores of {n} {n:module|modules} were expanded into a plain LoCon.", n=counts.cores)
    if form.alpha == ALPHA_FOLDED and counts.scaled:
        yield say(
            "The form {form} has no alpha: in {n} {n:module|modules} alpha/rank was multiplied into the numbers.",
            form=form.name,
            n=counts.scaled,
        )
    if form.alpha == ALPHA_TOLD:
        yield say("Alphas and ranks stand in adapter_config.json beside the file; both belong together.")


def _scale(adapter: Adapter) -> float:
    weight = adapter.weight_part
    return 1.0 if weight is None else weight.scale()
