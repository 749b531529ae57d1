"""Every choice of a training run: one frozen, checked object behind the command line, TOML, the UI and the metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lib_lora.data.tag_lines import strip_network_tags
from lib_lora.errors import InputError
from lib_lora.formats.names import is_usable
from lib_lora.options import AUTO, REQUIRED, AutoFloat, check_names, option, options_of, settle
from lib_lora.sentences import say
from lib_lora.train.available import usual_rate
from lib_lora.train.optimizers import OPTIMIZERS, own_rate, spec_of
from lib_lora.train.rate_checks import check_rates
from lib_lora.train.recipes import KINDS, ModelFacts, recipe_for
from lib_lora.train.sample_prompts import read_sample
from lib_lora.train.schedulers import SCHEDULERS

NETWORKS = ("lora", "locon")
MOST_STEPS = 1_000_000
"""Steps of the longest run: weeks on any GPU."""
LEAST_RATE = 1e-9
"""The lowest learning rate that a file can show: an optimizer moves a weight by about its rate a step, in 3000 steps by
3e-6 in all, and fp16 tells weights of 0.01 apart by 8e-6."""
LEAST_STRENGTH = 1e-6
"""The lowest alpha / dim, and the lowest ratio, with which anything is learned; strengths in use are above 1e-3."""
LEAST_SIDE = 64
"""The shortest side in px that pictures are trained at; smaller pictures are left out as well."""


@dataclass(frozen=True)
class TrainOptions:
    """The options of one run; making one checks every value and names the option that is wrong."""

    images: str = option(
        REQUIRED,
        "Folder of pictures",
        "6 to 60 pictures are usual; their folder may have sub-folders named like 10_name.",
        form="DIR",
    )
    name: str = option(REQUIRED, "Name", "Name of the run and of the LoRA file.")
    trigger: str = option(
        "",
        "Trigger word",
        "A made-up word that calls what was learned, e.g. krnk. It stands first in every caption.",
    )
    kind: str = option(
        "character", "It is a …", "Chooses the recipe: how it learns, and for how long.", choices=tuple(KINDS)
    )
    class_word: str = option("", "Class word", "What it is in general, e.g. girl; used where a picture has no caption.")
    reg_images: str = option(
        "",
        "Regularization pictures",
        "Folder with ordinary pictures of the class, so that the model keeps what it knew.",
        form="DIR",
    )
    network: str = option(
        "lora",
        "Network",
        "lora: small and usual. locon: learns 3×3 convolutions too, for textures and styles.",
        choices=NETWORKS,
    )
    dim: int = option(
        16,
        "Dim (rank)",
        "Size of the LoRA. 8 to 32 for a character; more learns more, and mistakes too.",
        low=1,
        high=1024,
    )
    alpha: float = option(
        1.0, "Alpha", "Strength is alpha / dim; 0 means the same as dim. A low value learns gently.", low=0, high=1024
    )
    conv_dim: int = option(8, "Conv dim", "Rank of the 3×3 convolutions (locon only).", low=1, high=1024)
    conv_alpha: float = option(1.0, "Conv alpha", "Alpha of the 3×3 convolutions (locon only).", low=0, high=1024)
    optimizer: str = option(
        "DAdaptAdanIP",
        "Optimizer",
        "DAdapt and Prodigy find the learning rate by themselves; AdamW needs one. Another one is given as "
        "package.module.Class.",
        choices=tuple(OPTIMIZERS),
        paths=True,
    )
    optimizer_args: Mapping[str, Any] = option(
        {}, "Optimizer arguments", "Further arguments as name=value, separated by commas.", form="NAME=VALUE"
    )
    learning_rate: float = option(
        1.0, "Learning rate", "1.0 for DAdapt and Prodigy, about 0.0001 for AdamW.", low=0, high=100
    )
    unet_ratio: float = option(1.0, "UNet ratio", "Factor on what the UNet learns; 0 leaves it out.", low=0, high=100)
    text_encoder_ratio: float = option(
        0.5,
        "Text encoder ratio",
        "Factor on what the text encoder learns; 0 leaves it out and is faster.",
        low=0,
        high=100,
    )
    scheduler: str = option(
        "cosine_with_restarts", "Scheduler", "How the learning rate goes down over the run.", choices=tuple(SCHEDULERS)
    )
    scheduler_cycles: int = option(1, "Cycles", "How often cosine_with_restarts starts again.", low=1, high=1000)
    scheduler_power: float = option(1.0, "Power", "Power of the polynomial scheduler.", low=0.01, high=100)
    scheduler_lowest: float = option(
        0.0, "Lowest rate", "Share of the learning rate that the scheduler ends at; 0 to 1.", low=0, high=1
    )
    scheduler_decay: float = option(
        0.2,
        "Decay of wsd",
        "Steps at the end in which wsd lets the rate fall; below 1 a share of all steps.",
        low=0,
        high=MOST_STEPS,
    )
    as_sd_scripts: bool = option(
        False,
        "Rates as sd-scripts",
        "Repeats a published recipe to the number: a rate for each part, a warmup from 0, an optimizer without our "
        "arguments.",
    )
    warmup: float = option(
        0.0, "Warmup", "Steps in which the rate rises; below 1 a share of all steps.", low=0, high=MOST_STEPS
    )
    epochs: int = option(
        20, "Epochs", "How often all pictures are gone through; ignored where steps are given.", low=1, high=100_000
    )
    steps: int = option(
        0,
        "Steps",
        "Steps in all. 0, or unchanged: computed from pictures, repeats and epochs, so that a likeness comes "
        "out. Fewer are a try of whether everything works.",
        low=0,
        high=MOST_STEPS,
    )
    repeats: int = option(
        0,
        "Repeats",
        "How often an epoch shows each picture, on top of its folder's name (10_krnk). 0: as the folder's name "
        "says; once where you change the epochs; else so that the goal of steps is reached.",
        low=0,
        high=100000,
    )
    target_steps: int = option(
        3000,
        "Goal of steps",
        "About how many steps automatic repeats aim at, regularization pictures counted in.",
        low=1,
        high=MOST_STEPS,
    )
    batch_size: int = option(
        1, "Batch size", "Pictures a step. More is smoother and needs more memory.", low=1, high=1024
    )
    save_every_epochs: int = option(
        5, "Save every … epochs", "Saves a file, a state and samples so often; 0 only at the end.", low=0, high=100_000
    )
    resolution: int = option(
        0, "Training size", "Side of the training pictures in pixels; 0 is the model's own size.", low=0, high=4096
    )
    bucket_step: int = option(
        0,
        "Bucket step",
        "Sides of buckets are multiples of so many pixels; 0 chooses by itself: 64, or 32 for small models.",
        low=0,
        high=512,
    )
    bucket_upscale: bool = option(
        True, "Enlarge small pictures", "Small pictures are enlarged to the training size; else they stay small."
    )
    flip: bool = option(False, "Mirror too", "Learns mirrored pictures too; only for what is symmetric.")
    shuffle_caption: bool = option(
        False, "Shuffle tags", "The order of tags changes every time, so that no tag depends on its place."
    )
    keep_tokens: int = option(
        1, "Keep first tags", "So many tags in front stay in place when tags are shuffled.", low=0, high=1000
    )
    caption_dropout: float = option(0.0, "Empty captions", "Share of steps without a caption, 0 to 1.", low=0, high=1)
    tag_dropout: float = option(0.0, "Tags left out", "Share of tags left out each time, 0 to 1.", low=0, high=1)
    min_snr_gamma: AutoFloat = option(
        AUTO,
        "Min-SNR gamma",
        "Weighs easy and hard steps alike. auto: 5, but off for a model that predicts velocity, where it would "
        "leave out the noisiest steps. 0 turns it off.",
        low=0,
        high=1000,
    )
    zero_terminal_snr: str = option(
        AUTO,
        "Zero terminal SNR",
        "For v-prediction models whose schedule ends in pure noise (NoobAI v-pred and its merges). auto: as the "
        "checkpoint or the WebUI says.",
        choices=(AUTO, "on", "off"),
    )
    noise_offset: float = option(
        0.0, "Noise offset", "0.05 to 0.1 helps with very dark and very bright pictures.", low=0, high=1
    )
    prior_loss_weight: float = option(
        1.0, "Weight of these pictures", "How much regularization pictures count in the loss.", low=0, high=10_000
    )
    prior_from_model: bool = option(
        True,
        "Hold to the model",
        "Regularization pictures hold the model at what it predicted before, not at the pictures.",
    )
    max_grad_norm: float = option(
        1.0, "Gradient limit", "Gradients are cut to this norm; 0 turns it off.", low=0, high=1000
    )
    clip_skip: int = option(
        1, "Clip skip", "Which layer of the text encoder counts, from the end. 2 for many anime models.", low=1, high=32
    )
    seed: int = option(31337, "Seed", "Of everything random; the same seed gives the same LoRA.", low=0, high=2**32 - 1)
    sample_prompts: tuple[str, ...] = option(
        (),
        "Sample prompts",
        "One a line; rendered before the start, at every save and at the end. As in sd-scripts, --n --w --h --s "
        "--d --l set more.",
    )
    comment: str = option("", "Comment", "Free text, kept in the file.")

    def __post_init__(self) -> None:
        settle(self)
        if not self.unet_ratio and not self.text_encoder_ratio:
            raise InputError(
                "Nothing would be trained", where="unet_ratio, text_encoder_ratio", cure="Set one above 0."
            )
        check_name(self.name)
        for text in self.sample_prompts:
            read_sample(text)
        _check_words(self)
        _check_smallest(self)
        check_rates(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every option as plain values that JSON can hold."""
        plain = {one.name: getattr(self, one.name) for one in options_of(TrainOptions)}
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
    needed = {name: value for name, value in values.items() if value != ""}
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
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()
