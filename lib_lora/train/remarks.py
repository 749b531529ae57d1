"""What a person should know of a run besides its pictures: how the model is used, and what of the options is cut."""

from __future__ import annotations

from lib_lora.data.tag_lines import caption_warnings
from lib_lora.formats.privacy import last_name
from lib_lora.host.base import LoadedModel
from lib_lora.sentences import say
from lib_lora.train import network
from lib_lora.train.block_numbers import rates_of
from lib_lora.train.captions import reading_of
from lib_lora.train.loss import schedule_for
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.network import split_strength
from lib_lora.train.recipes import facts_of
from lib_lora.train.unused import unused


def remarks_on(model: LoadedModel, options: TrainOptions) -> tuple[str, ...]:
    """Return the remarks, each one sentence.

    Raises:
        InputError: the model cannot be trained on the schedule that the options say.
    """
    said = list(model.schedule.notes)
    schedule = schedule_for(model, options.zero_terminal_snr)
    if schedule.zero_terminal:
        said.append(say("zero terminal SNR: the model is trained on a schedule that ends in pure noise"))
    if schedule.zero_terminal != model.schedule.zero_terminal:
        said.append(say("zero_terminal_snr differs from what the model says: sample pictures follow the model"))
    for what in caption_warnings(options.trigger, reading=reading_of(options)):
        said.append(say("the trigger word {said}", said=what))
    for what in caption_warnings(options.class_word, reading=reading_of(options)):
        said.append(say("the class word {said}", said=what))
    if options.continue_from:
        said += network.remarks_on_beginning(model, options)
    for path, strength in map(split_strength, options.base_loras):
        said.append(say("trained on top of {name} at strength {strength:g}", name=last_name(path), strength=strength))
    cut = [one.rank for one in network.places(model, options) if one.rank < one.wanted]
    if cut and not options.continue_from:
        said.append(
            say(
                "{n} {n:layer is|layers are} smaller than the rank that was asked for (the smallest can have "
                "{smallest}): "
                "{n:its|their} rank and alpha are cut alike, so {n:its|their} strength stays",
                n=len(cut),
                smallest=min(cut),
            )
        )
    said += rates_of(options, model.family).notes
    return (*said, *unused(options, facts_of(model)))
