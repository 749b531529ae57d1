"""Every choice of a training run: one frozen, checked object behind the command line, TOML, the UI and the metadata."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from lib_lora.data.tag_lines import strip_network_tags
from lib_lora.errors import InputError
from lib_lora.formats.names import is_usable
from lib_lora.sentences import say
from lib_lora.train.available import usual_rate
from lib_lora.train.optimizers import OPTIMIZERS, own_rate
from lib_lora.train.recipes import AUTO, KINDS, ModelFacts, recipe_for
from lib_lora.train.sample_prompts import read_sample
from lib_lora.train.schedulers import SCHEDULERS

NETWORKS = ("lora", "locon")
AutoFloat = float | str
"""A number, or `AUTO`."""


MOST_STEPS = 1_000_000
"""Steps of the longest run: weeks on any GPU."""
LEAST_RATE = 1e-9
"""The lowest learning rate that a file can show: an optimizer moves a weight by about its rate a step, in 3000 steps by
3e-6 in all, and fp16 tells weights of 0.01 apart by 8e-6."""
LEAST_STRENGTH = 1e-6
"""The lowest alpha / dim, and the lowest ratio, with which anything is learned; strengths in use are above 1e-3."""
LEAST_SIDE = 64
"""The shortest side in px that pictures are trained at; smaller pictures are left out as well."""


def option(
    default: Any = MISSING, *, help: str, low: float | None = None, high: float | None = None, choices: tuple = ()
) -> Any:
    """Declare one option: its default, what it means, and what it may be."""
    meta = {"help": help, "low": low, "high": high, "choices": tuple(choices)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=meta)
    return field(metadata=meta) if default is MISSING else field(default=default, metadata=meta)


@dataclass(frozen=True)
class TrainOptions:
    """The options of one run; making one checks every value and names the option that is wrong."""

    images: str = option(help="folder with the pictures (or a folder of 'N_name class' folders)")
    name: str = option(help="name of the LoRA file, without ending")
    trigger: str = option("", help="trigger word; it stands first in every caption")
    kind: str = option("character", help="what it learns; chooses the recipe", choices=tuple(KINDS))
    class_word: str = option("", help="what the trigger word is (girl, style); used where a picture has no caption")
    reg_images: str = option("", help="folder with regularisation pictures (they keep what the model knew)")
    network: str = option("lora", help="lora: Linear and 1×1; locon: 3×3 convolutions too", choices=NETWORKS)
    dim: int = option(16, help="rank of the LoRA", low=1, high=1024)
    alpha: float = option(1.0, help="strength is alpha / dim; 0 means dim", low=0, high=1024)
    conv_dim: int = option(8, help="rank of 3×3 convolutions (locon)", low=1, high=1024)
    conv_alpha: float = option(1.0, help="alpha of 3×3 convolutions (locon)", low=0, high=1024)
    optimizer: str = option("DAdaptAdanIP", help="optimizer", choices=tuple(OPTIMIZERS))
    optimizer_args: Mapping[str, Any] = option({}, help="further arguments of the optimizer")
    learning_rate: float = option(1.0, help="learning rate; 1.0 for DAdapt and Prodigy", low=0, high=100)
    unet_ratio: float = option(1.0, help="factor on what is learned in the UNet; 0 leaves it out", low=0, high=100)
    text_encoder_ratio: float = option(
        0.5, help="factor on what is learned in the text encoder; 0 leaves it out", low=0, high=100
    )
    scheduler: str = option("cosine_with_restarts", help="course of the learning rate", choices=tuple(SCHEDULERS))
    scheduler_cycles: int = option(1, help="cycles of cosine_with_restarts", low=1, high=1000)
    scheduler_power: float = option(1.0, help="power of polynomial", low=0.01, high=100)
    warmup: float = option(0.0, help="warmup: steps, or a share of all steps below 1", low=0, high=1_000_000)
    epochs: int = option(20, help="epochs; ignored where steps are given", low=1, high=100_000)
    steps: int = option(0, help="steps in all; 0 counts from epochs and repeats", low=0, high=MOST_STEPS)
    repeats: int = option(
        0,
        help="how often an epoch shows each picture, times what its folder's name says; 0: as the name says (10_krnk), "
        "1 where epochs are given, else so that the steps reach target_steps",
        low=0,
        high=100_000,
    )
    target_steps: int = option(
        3000, help="about how many steps repeats=0 aims at, regularisation pictures counted in", low=1, high=MOST_STEPS
    )
    batch_size: int = option(1, help="pictures a step", low=1, high=1024)
    save_every_epochs: int = option(
        5, help="save a file and a state every so many epochs; 0 only at the end", low=0, high=100_000
    )
    resolution: int = option(0, help="side of the training pictures in px; 0 is the model's own", low=0, high=4096)
    bucket_step: int = option(
        0, help="bucket sides are multiples of it in px; 0: 64, or 32 for small models", low=0, high=512
    )
    bucket_upscale: bool = option(True, help="enlarge small pictures to the training size")
    flip: bool = option(False, help="also learn the pictures mirrored (symmetric subjects)")
    shuffle_caption: bool = option(False, help="shuffle the tags of a caption")
    keep_tokens: int = option(1, help="leading tags that shuffling leaves in place", low=0, high=1000)
    caption_dropout: float = option(0.0, help="share of steps with an empty caption", low=0, high=1)
    tag_dropout: float = option(0.0, help="share of tags left out", low=0, high=1)
    min_snr_gamma: AutoFloat = option(
        AUTO, help="min-SNR weighting; auto: 5, but off (0) for a model that predicts velocity", low=0, high=1000
    )
    zero_terminal_snr: str = option(
        AUTO,
        help="schedule that ends in pure noise; auto: as the checkpoint or the WebUI says",
        choices=(AUTO, "on", "off"),
    )
    noise_offset: float = option(0.0, help="noise offset (0.05 to 0.1 for dark and bright pictures)", low=0, high=1)
    prior_loss_weight: float = option(1.0, help="weight of regularisation pictures in the loss", low=0, high=10_000)
    prior_from_model: bool = option(
        True, help="regularisation pictures hold the model at what it predicted before, not at the pictures themselves"
    )
    max_grad_norm: float = option(1.0, help="gradients are cut to this norm; 0 turns it off", low=0, high=1000)
    clip_skip: int = option(
        1, help="which layer of the text encoder from the end; at most as many as it has", low=1, high=32
    )
    seed: int = option(31337, help="seed of everything random", low=0, high=2**32 - 1)
    sample_prompts: tuple[str, ...] = option(
        (), help="prompts rendered at every save, with sd-scripts' --n --w --h --s --d --l; or files of them"
    )
    comment: str = option("", help="free text, kept in the file")

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = _converted(declared, getattr(self, declared.name))
            object.__setattr__(self, declared.name, value)
        if not self.unet_ratio and not self.text_encoder_ratio:
            raise InputError(
                "Nothing would be trained", where="unet_ratio, text_encoder_ratio", cure="Set one above 0."
            )
        check_name(self.name)
        for text in self.sample_prompts:
            read_sample(text)
        _check_words(self)
        _check_smallest(self)
        known = OPTIMIZERS[self.optimizer]
        if not self.learning_rate and not own_rate(self.optimizer, self.optimizer_args):
            raise InputError(
                "A learning rate of 0 trains nothing",
                where="learning_rate",
                cure="Use about {rate:g}.",
                rate=known.usual_rate,
            )
        if known.automatic and 0 < self.learning_rate <= 0.1:
            raise InputError(
                "A learning rate of {rate:g} is far too small for {optimizer}",
                rate=self.learning_rate,
                optimizer=self.optimizer,
                where="learning_rate",
                cure="This optimizer finds the size itself: use 1.0.",
            )
        if not known.automatic and self.learning_rate > 0.1:
            raise InputError(
                "A learning rate of {rate:g} is far too large for {optimizer}",
                rate=self.learning_rate,
                optimizer=self.optimizer,
                where="learning_rate",
                cure=say("Use about {rate:g}.", rate=known.usual_rate),
            )

    def to_dict(self) -> dict[str, Any]:
        """Return every option as plain values that JSON can hold."""
        plain = {declared.name: getattr(self, declared.name) for declared in fields(self)}
        return plain | {"optimizer_args": dict(self.optimizer_args), "sample_prompts": list(self.sample_prompts)}


def _check_words(options: TrainOptions) -> None:
    """Refuse words for every caption that a caption could not hold: it has one line, and its network tags are cut."""
    for name in ("trigger", "class_word"):
        text = getattr(options, name)
        if "\n" in text.strip():
            raise InputError("A caption has one line, and these words have several", where=name, cure="Use commas.")
        if strip_network_tags(text)[1]:
            raise InputError(
                "These words hold a network tag such as <lora:…>, which is no text to train on",
                where=name,
                cure="Write the words alone; a LoRA is used in the prompt.",
            )


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
        ("conv_alpha", options.conv_alpha / options.conv_dim, LEAST_STRENGTH),
    ):
        if 0 < value < least:
            raise InputError(
                "{n:g} is so small that nothing would be learned",
                n=getattr(options, name),
                where=name,
                cure="Leave it out for the usual value.",
            )


def _converted(declared: Any, value: Any) -> Any:
    """Return ``value`` in the option's type; InputError where it has another or is out of range."""
    name, meta, kind = declared.name, declared.metadata, declared.type
    if kind == "AutoFloat":
        if isinstance(value, str):
            value = auto_or_number(value, name)
        if value == AUTO:
            return AUTO
        kind = "float"
    if kind.startswith("Mapping"):
        if not isinstance(value, Mapping):
            raise InputError("This option is a table of names and values", where=name)
        return dict(value)
    if kind.startswith("tuple"):
        texts = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(text, str) for text in texts):
            raise InputError("This option is a list of texts", where=name)
        return texts
    if kind == "bool":
        if not isinstance(value, bool):
            raise InputError("“{value}” is neither true nor false", value=value, where=name)
        return value
    if kind in ("int", "float"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError("“{value}” is no number", value=value, where=name)
        if kind == "int" and value != int(value):
            raise InputError("{value} is no whole number", value=value, where=name)
        low, high = meta["low"], meta["high"]
        if value < low or value > high:
            raise InputError(
                "{value:g} is out of range",
                value=value,
                where=name,
                cure="Give a number from {low:g} to {high:g}.",
                low=low,
                high=high,
            )
        return int(value) if kind == "int" else float(value)
    if not isinstance(value, str):
        raise InputError("“{value}” is no text", value=value, where=name)
    if meta["choices"] and value not in meta["choices"]:
        exact = {choice.lower(): choice for choice in meta["choices"]}.get(value.lower())
        if exact is None:
            raise InputError(
                "“{value}” is unknown", value=value, where=name, cure="Choose one of: {names}.", names=meta["choices"]
            )
        return exact
    return value


def auto_or_number(text: str, name: str) -> float | str:
    """Return a typed text as a number or as `AUTO`.

    Raises:
        InputError: it is neither.
    """
    if text.strip().lower() in (AUTO, ""):
        return AUTO
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            "“{value}” is neither a number nor “auto”", value=text, where=name, cure="Give a number, or auto."
        ) from error


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
    import difflib

    known = {declared.name for declared in fields(TrainOptions)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            raise InputError(
                "There is no option “{name}”",
                name=key,
                where=where,
                cure=say("Did you mean: {names}?", names=near) if near else "",
            )
    for needed in ("images", "name"):
        if not values.get(needed):
            raise InputError("The option “{name}” is missing", name=needed, where=where, cure="Give it a value.")
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
        if chosen in known_as:
            recipe["learning_rate"] = usual_rate(known_as[chosen], model)
    if not recipe.get("learning_rate", 1.0) and isinstance(arguments, Mapping) and not own_rate("AdaFactor", arguments):
        recipe["learning_rate"] = OPTIMIZERS["AdaFactor"].usual_rate
    return recipe


def usual_values(
    kind: str, *, optimizer: str = "", arguments: Any = None, model: ModelFacts | None = None
) -> dict[str, Any]:
    """Return every option that has a usual value: its default, or what the kind's recipe says (for this model)."""
    plain = {one.name: one.default for one in fields(TrainOptions) if one.default is not MISSING}
    found = {
        **plain,
        "optimizer_args": {},
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
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()
