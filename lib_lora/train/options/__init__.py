"""Every choice of a training run: one frozen, checked object behind the command line, TOML, the UI and the metadata."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.data.caption_words import check_words
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING, is_usable
from lib_lora.formats.privacy import last_name
from lib_lora.options import REQUIRED, check_names, options_of, settle
from lib_lora.sentences import say
from lib_lora.train.available import usual_rate
from lib_lora.train.network_checks import check_network
from lib_lora.train.optimizers import OPTIMIZERS, own_rate, spec_of
from lib_lora.train.option_checks import check_captions, check_loss, check_pictures, check_regularization
from lib_lora.train.options.blocks import BlockOptions
from lib_lora.train.options.captions import CaptionOptions
from lib_lora.train.options.learning import LearningOptions
from lib_lora.train.options.length import LengthOptions
from lib_lora.train.options.loss import LossOptions
from lib_lora.train.options.masks import MaskOptions
from lib_lora.train.options.measuring import MeasuringOptions
from lib_lora.train.options.memory import MemoryOptions
from lib_lora.train.options.network import NetworkOptions, split_strength
from lib_lora.train.options.noise import NoiseOptions
from lib_lora.train.options.pictures import PictureOptions
from lib_lora.train.options.record import RecordOptions
from lib_lora.train.options.regularization import RegularizationOptions
from lib_lora.train.options.saving import SavingOptions
from lib_lora.train.options.subject import SubjectOptions
from lib_lora.train.rate_checks import check_rates
from lib_lora.train.recipes import ModelFacts, recipe_for
from lib_lora.train.sample_prompts import read_sample

LEAST_RATE = 1e-9
"""The lowest learning rate that a file can show: an optimizer moves a weight by about its rate a step, in 3000 steps by
3e-6 in all, and fp16 tells weights of 0.01 apart by 8e-6."""
LEAST_STRENGTH = 1e-6
"""The lowest alpha / dim, and the lowest ratio, with which anything is learned; strengths in use are above 1e-3."""
LEAST_SIDE = 64
"""The shortest side in px that pictures are trained at; smaller pictures are left out as well."""


PLACES = ("images", "reg_images", "dataset_config", "masks", "continue_from")
"""Options that are a place on somebody's disk."""


@dataclass(frozen=True)
class TrainOptions(  # a dataclass takes its fields from its last base first
    RecordOptions,
    MeasuringOptions,
    SavingOptions,
    MemoryOptions,
    NoiseOptions,
    LossOptions,
    RegularizationOptions,
    CaptionOptions,
    MaskOptions,
    PictureOptions,
    LearningOptions,
    BlockOptions,
    NetworkOptions,
    LengthOptions,
    SubjectOptions,
):
    """The options of one run; making one checks every value and names the option that is wrong."""

    def __post_init__(self) -> None:
        settle(self)
        if self.name.lower().endswith(ENDING):  # the file gets it in any case
            object.__setattr__(self, "name", self.name[: -len(ENDING)])
        if not self.unet_ratio and not self.text_encoder_ratio:
            raise InputError(
                "Nothing would be trained", where="unet_ratio, text_encoder_ratio", cure="Set one above 0."
            )
        check_name(self.name)
        for text in self.sample_prompts:
            read_sample(text)
        _check_words(self)
        check_captions(self)
        check_pictures(self)
        check_regularization(self)
        _check_smallest(self)
        check_rates(self)
        check_network(self)
        check_loss(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every option as plain values that JSON can hold."""
        plain = {one.name: getattr(self, one.name) for one in options_of(TrainOptions)}
        lists = {name: list(getattr(self, name)) for name in ("sample_prompts", "base_loras", "reg_prompts")}
        return plain | lists | {"optimizer_args": dict(self.optimizer_args)}


SUBJECTS: Mapping[str, type] = {one.__module__.rpartition(".")[2]: one for one in reversed(TrainOptions.__bases__)}
"""What the options are about -> the class that declares them, in the module of that name."""


def with_names_only(options: TrainOptions) -> TrainOptions:
    """Return the options with the last names of their paths: a file or a report is handed on."""
    under = [(last_name(path), strength) for path, strength in map(split_strength, options.base_loras)]
    named: dict[str, Any] = {name: last_name(getattr(options, name)) for name in PLACES}
    return replace(options, **named, base_loras=tuple(f"{name}:{strength:g}" for name, strength in under))


def _check_words(options: TrainOptions) -> None:
    """Refuse words for every caption that a caption could not hold."""
    words = [(name, getattr(options, name)) for name in ("trigger", "class_word", "caption_prefix", "caption_suffix")]
    for name, text in (*words, *(("reg_prompts", prompt) for prompt in options.reg_prompts)):
        check_words(text, where=name)


def _check_smallest(options: TrainOptions) -> None:
    """Refuse numbers so small that nothing would be learned."""
    if 0 < options.resolution < LEAST_SIDE:
        raise InputError(
            "A training size of {n} px is too small",
            n=options.resolution,
            where="resolution",
            cure=say("Give at least {n} px, or 0 for the model's own size.", n=LEAST_SIDE),
        )
    strongest = max(options.unet_ratio, options.text_encoder_ratio)
    for name, value, least in (
        ("learning_rate", options.learning_rate * min(1.0, strongest), LEAST_RATE),
        ("unet_ratio", options.unet_ratio, LEAST_STRENGTH),
        ("text_encoder_ratio", options.text_encoder_ratio, LEAST_STRENGTH),
        ("alpha", options.alpha / options.dim, LEAST_STRENGTH),
        ("conv_alpha", options.conv_alpha / max(1, options.conv_dim), LEAST_STRENGTH),
    ):
        if 0 < value < least:
            raise InputError(
                "{n:g} is so small that nothing would be learned",
                n=getattr(options, name),
                where=name,
                cure="Leave it out for the usual value.",
            )


def check_name(name: str) -> None:
    """Refuse a file name that some system or a LoRA tag cannot hold, that leaves its folder, or that is hidden."""
    if not is_usable(name):
        raise InputError(
            "“{name}” cannot be a file's name",
            name=name,
            where="name",
            cure='Leave out < > : " / \\ | ? * =, a dot or space at either end, and keep it under 200 bytes.',
        )


def from_mapping(values: Mapping[str, Any], *, where: str, model: ModelFacts | None = None) -> TrainOptions:
    """Return options from plain values over the recipe of their ``kind``, adjusted to ``model`` where it is given.

    Raises:
        InputError: an unknown option (with the nearest names), a missing one, or a value out of range.
    """
    if values.get("dataset_config"):
        values = {"images": "", **values}
    needed = {name: value for name, value in values.items() if value != "" or name == "images"}
    check_names(options_of(TrainOptions), needed, where=where)
    kind = values.get("kind", "character")
    kind = kind.lower() if isinstance(kind, str) else ""
    arguments = values.get("optimizer_args")
    recipe = recipe_of(kind, optimizer=str(values.get("optimizer", "")), arguments=arguments, model=model)
    if epochs_are_meant(values):
        recipe["repeats"] = 1
    return TrainOptions(**{**recipe, **values})


def epochs_are_meant(given: Collection[str]) -> bool:
    """Whether epochs are given and nothing else of a run's length: they count as said, with each picture once."""
    return "epochs" in given and not {"repeats", "steps", "target_steps"} & set(given)


def recipe_of(
    kind: str, *, optimizer: str = "", arguments: Any = None, model: ModelFacts | None = None
) -> dict[str, Any]:
    """Return what a kind's recipe sets, for its own optimizer or another one, adjusted to the model if it is known.

    Where ``arguments`` take an optimizer's own rate away, it gets its usual one.
    """
    recipe = recipe_for(kind, model)
    own = str(recipe.get("optimizer", "")).lower()
    chosen = optimizer.lower() or own
    if chosen != own:
        # Arguments and rate belong to the recipe's own optimizer; another one starts from its usual rate.
        known_as = {name.lower(): name for name in OPTIMIZERS}
        recipe.pop("optimizer_args", None)
        if chosen in known_as or "." in chosen:
            name = known_as.get(chosen, optimizer)
            recipe["learning_rate"] = usual_rate(name, model)
            if spec_of(name).averages:  # it needs no course, and a ratio would part what it averages
                recipe |= {"scheduler": "constant", "unet_ratio": 1.0, "text_encoder_ratio": 1.0}
    if not recipe.get("learning_rate", 1.0) and isinstance(arguments, Mapping) and not own_rate("AdaFactor", arguments):
        recipe["learning_rate"] = OPTIMIZERS["AdaFactor"].usual_rate
    return recipe


def usual_values(
    kind: str, *, optimizer: str = "", arguments: Any = None, model: ModelFacts | None = None
) -> dict[str, Any]:
    """Return every option that has a usual value: its default, or what the kind's recipe says (for this model)."""
    plain = {one.name: one.default for one in options_of(TrainOptions) if one.default is not REQUIRED}
    found = {
        **plain,
        **recipe_of(kind, optimizer=optimizer, arguments=arguments, model=model),
        "kind": kind,
    }
    return found | {"optimizer_args": dict(found["optimizer_args"])}


def parse_argument(text: str, *, where: str = "optimizer_args") -> tuple[str, Any]:
    """Return one ``name=value`` of the optimizer's arguments; the value as Python would read it.

    Raises:
        InputError: there is no ``=``.
    """
    import ast

    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise InputError(say("“{text}” is not name=value", text=text), where=where)
    words = {"true": True, "false": False, "none": None}
    if value.strip().lower() in words:
        return name.strip(), words[value.strip().lower()]
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # nested as no person writes it
        return name.strip(), value.strip()


_NAMED = re.compile(r"[\"']?[A-Za-z_][\w.]*\s*=")


def split_arguments(text: str) -> list[str]:
    """Split ``a=1, b=(2, 3) c=4, 5`` at the commas, blanks and line ends outside brackets; ``4, 5`` is one value."""
    parts, depth, begun = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth > 0 or letter not in ", \t\n\u3000":
            continue
        before, after = text[begun:at].rstrip(), text[at + 1 :].lstrip(", \t\n\u3000")
        joins = before.endswith(("=", ",")) or after.startswith("=") or "," in text[at : len(text) - len(after)]
        if _NAMED.match(after) or not after or not joins:
            parts.append(text[begun:at])
            begun = at + 1
    return [part for part in (one.strip(" ,\t\n\u3000") for one in [*parts, text[begun:]]) if part]
