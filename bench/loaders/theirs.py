"""Their side: another program's own loader on a file of ours, told by what it left over and what it changes.

    python -m bench.loaders.theirs LIBRARY CHECKOUT MODEL_FOLDER FILE …

Runs under an interpreter that has the library; of this project it imports only what stands in for torchvision. It
writes the changes beside each file, under the file's own keys, and prints a line of JSON with what was left over.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from bench.trainers.stand_in import without_torchvision

_KOHYA = {
    "enable_conv": True,
    "unet_target_module": ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"],
    "unet_target_name": [],
}
"""LyCORIS' preset of the layers that sd-scripts trains."""
Found = tuple[dict[str, torch.Tensor], dict[str, list[str]]]
"""Key -> what it changes; and what was left over, by the library's own words for it."""


def sd_scripts(model: dict[str, Any], folder: Path, path: Path) -> Found:
    """Open a LoRA or LoCon by ``create_network_from_weights`` of sd-scripts' own network module.

    Another kind goes as its users would load it: by LyCORIS' module, which `lycoris_kohya` does.
    """
    if "algo" in _arguments(path):
        return lycoris_kohya(model, folder, path)
    unet, texts = _sd_scripts_model(model, folder)
    module = importlib.import_module("networks.lora")
    targets = list(module.LoRANetwork.UNET_TARGET_REPLACE_MODULE)
    network, tensors = module.create_network_from_weights(1.0, str(path), None, texts, unet, for_inference=True)
    module.LoRANetwork.UNET_TARGET_REPLACE_MODULE = targets  # it adds to the class's own list
    network.apply_to(texts, unet)
    left = network.load_state_dict(tensors, strict=False)
    own = {lora.lora_name: lora.get_weight(1.0) for lora in network.unet_loras + network.text_encoder_loras}
    return own, _left(path, own, left)


def lycoris_kohya(model: dict[str, Any], folder: Path, path: Path) -> Found:
    """Open a file with LyCORIS' module for sd-scripts.

    Its ``create_network_from_weights`` knows no DoRA with a length for each input, though it trains them: such a file
    is loaded into a network that is made from the file's own ``ss_network_args``.
    """
    module = importlib.import_module("lycoris.kohya")
    unet, texts = _sd_scripts_model(model, folder)
    texts = texts if len(texts) > 1 else texts[0]
    # With its own preset it finds the layers of sd-scripts' time embedding twice, and refuses every file.
    module.LycorisNetworkKohya.apply_preset(_KOHYA)
    if _arguments(path).get("wd_on_output") == "False":
        network, tensors = _from_arguments(module, path, unet, texts), load_file(path)
    else:
        network, tensors = module.create_network_from_weights(1.0, str(path), None, texts, unet)
    network.apply_to(texts, unet, True, True)
    left = network.load_state_dict(tensors, strict=False)
    own = {lora.lora_name: _changed(lora) for lora in network.loras}
    return own, _left(path, own, left)


def _from_arguments(module: Any, path: Path, unet: nn.Module, texts: Any) -> Any:
    """Return a network as sd-scripts makes it for a new training, by the file's own metadata."""
    told, arguments = _metadata(path), _arguments(path)
    module.PRESET["file"] = _KOHYA
    dim, alpha = int(told["ss_network_dim"]), float(told["ss_network_alpha"])
    return module.create_network(1.0, dim, alpha, None, texts, unet, **{**arguments, "preset": "file"})


def lycoris(model: dict[str, Any], folder: Path, path: Path) -> Found:
    """Open a file by ``create_lycoris_from_weights``, which works on any module; here on a bare tree of layers."""
    wrapper = importlib.import_module("lycoris.wrapper")
    tensors = load_file(path)
    own: dict[str, torch.Tensor] = {}
    missing, unexpected = [], []
    for prefix, layers in _trees(model, folder).items():
        wrapper.LycorisNetwork.apply_preset({"lora_prefix": prefix})
        mine = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}_")}
        if _arguments(path).get("wd_on_output") == "False":
            network = _wrapped(wrapper, path, layers, mine)
        else:
            network, _ = wrapper.create_lycoris_from_weights(1.0, "", layers, weights_sd=mine)
        network.apply_to()
        left = network.load_state_dict(mine, strict=False)
        missing, unexpected = missing + left.missing_keys, unexpected + left.unexpected_keys
        own |= {lora.lora_name: _changed(lora) for lora in network.loras}
    return own, {"unmatched": _unmatched(path, own), "missing": missing, "unexpected": unexpected}


def _wrapped(wrapper: Any, path: Path, layers: nn.Module, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a network over the layers that a file has, made from its own arguments."""
    told = _metadata(path)
    wanted = {name.partition(".")[0] for name in tensors}
    prefix = wrapper.LycorisNetwork.LORA_PREFIX
    skipped = [
        name for name, _ in layers.named_modules() if name and f"{prefix}_{name}".replace(".", "_") not in wanted
    ]
    leaves = [name for name in skipped if not any(True for _ in layers.get_submodule(name).children())]
    wrapper.PRESET["file"] = {
        "enable_conv": True,
        "target_module": ["Linear", "Conv2d"],
        "target_name": [],
        "exclude_name": leaves,
        "lora_prefix": prefix,
    }
    dim, alpha = int(told["ss_network_dim"]), float(told["ss_network_alpha"])
    return wrapper.create_lycoris(layers, 1.0, dim, alpha, **{**_arguments(path), "preset": "file"})


def _changed(lora: Any) -> torch.Tensor:
    """Return what a module of LyCORIS changes in use; its merge multiplies LoHa and LoKr with alpha / rank twice."""
    base = lora.org_module[0].weight
    if type(lora).__name__ == "LoConModule":
        change = lora.get_diff_weight(shape=base.shape)[0]
    else:
        change = lora.get_weight(base.shape)
    return lora.apply_weight_decompose(base + change) - base if lora.wd else change


def diffusers(model: dict[str, Any], folder: Path, path: Path) -> Found:
    """Open a file by ``load_lora_weights`` of the pipeline of its family."""
    library, transformers = importlib.import_module("diffusers"), importlib.import_module("transformers")
    unet = library.UNet2DConditionModel.from_config(json.loads(json.dumps(model["unet"])))
    unet.load_state_dict(load_file(folder / "unet.safetensors"))
    texts = _texts(model, folder)
    tokens = transformers.CLIPTokenizer.from_pretrained(model["tokenizer"])
    parts = {"vae": None, "unet": unet, "scheduler": library.DDPMScheduler(), "text_encoder": texts[0]}
    parts["tokenizer"] = tokens
    if len(texts) > 1:
        pipe = library.StableDiffusionXLPipeline(**parts, text_encoder_2=texts[1], tokenizer_2=tokens)
    else:
        pipe = library.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    with _Heard("diffusers") as heard:
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="file")
    renamed = model["ldm"] or {}
    own = {}
    places = [("lora_unet", pipe.unet), *zip(_prefixes(texts), texts, strict=True)]
    for prefix, part in places:
        for name, module in part.named_modules():
            if hasattr(module, "get_delta_weight") and "file" in getattr(module, "lora_A", ()):
                ldm = renamed.get(f"{name}.weight", f"{name}.weight").removesuffix(".weight")
                full = ldm if prefix == "lora_unet" or name.startswith("text_model.") else f"text_model.{name}"
                own[f"{prefix}_{full}".replace(".", "_")] = module.get_delta_weight("file")
    said = [
        line for line in heard.lines if "unexpected" in line.lower() or "missing" in line.lower() or "filter" in line
    ]
    return own, {"unmatched": _unmatched(path, own), "missing": [], "unexpected": said}


class _Heard(logging.Handler):
    """What a library's loggers warn of."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> _Heard:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def _left(path: Path, own: Iterable[str], left: Any) -> dict[str, list[str]]:
    found = {"unmatched": _unmatched(path, own), "missing": left.missing_keys, "unexpected": left.unexpected_keys}
    return {word: list(names) for word, names in found.items()}


def _unmatched(path: Path, own: Iterable[str]) -> list[str]:
    """Return the modules of a file that the loader made nothing of."""
    return sorted({name.partition(".")[0] for name in load_file(path)} - set(own))


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def _arguments(path: Path) -> dict[str, str]:
    return json.loads(_metadata(path)["ss_network_args"])


def _prefixes(texts: list[nn.Module]) -> list[str]:
    return ["lora_te"] if len(texts) == 1 else [f"lora_te{number + 1}" for number in range(len(texts))]


def _texts(model: dict[str, Any], folder: Path) -> list[nn.Module]:
    transformers = importlib.import_module("transformers")
    found = []
    for number, config in enumerate(model["text"]):
        kind = transformers.CLIPTextModelWithProjection if number else transformers.CLIPTextModel
        made = kind(transformers.CLIPTextConfig(**config))
        tensors = load_file(folder / f"text{number}.safetensors")
        bare = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
        state = {
            name: bare[name.removeprefix("text_model.")] for name in made.state_dict() if "position_ids" not in name
        }
        made.load_state_dict(state, strict=False)
        found.append(made)
    return found


def _sd_scripts_model(model: dict[str, Any], folder: Path) -> tuple[nn.Module, list[nn.Module]]:
    """Return sd-scripts' own UNet, made as small as the model, and the text encoders."""
    without_torchvision()
    tensors, widths = load_file(folder / "unet.safetensors"), tuple(model["widths"])
    context = sum(text["hidden_size"] for text in model["text"])
    if model["family"] == "sdxl":
        unet = _small_sdxl(importlib.import_module("library.sdxl_original_unet"), model, context)
        tensors = {model["ldm"][name]: tensor for name, tensor in tensors.items()}
    else:
        original = importlib.import_module("library.original_unet")
        original.BLOCK_OUT_CHANNELS = widths
        original.TIMESTEP_INPUT_DIM, original.TIME_EMBED_DIM = widths[0], widths[0] * 4
        unet = original.UNet2DConditionModel(
            sample_size=model["side"],
            attention_head_dim=model["unet"]["attention_head_dim"],
            cross_attention_dim=context,
            use_linear_projection=model["unet"]["use_linear_projection"],
        )
    unet.load_state_dict(tensors)
    return unet.eval(), _texts(model, folder)


def _small_sdxl(original: Any, model: dict[str, Any], context: int) -> nn.Module:
    """Return sd-scripts' SDXL UNet with other sizes: its own stand in its source, as constants and as numbers."""
    width, depth = model["widths"][0], {2: model["depth"][1], 10: model["depth"][2]}
    plain = original.Transformer2DModel

    class Transformer2DModel(plain):
        def __init__(self, **given: Any) -> None:
            given |= {"num_transformer_layers": depth[given["num_transformer_layers"]], "cross_attention_dim": context}
            super().__init__(**given)

    original.MODEL_CHANNELS, original.TIME_EMBED_DIM, original.CONTEXT_DIM = width, width * 4, context
    original.ADM_IN_CHANNELS = model["unet"]["projection_class_embeddings_input_dim"]
    original.Transformer2DModel = Transformer2DModel
    try:
        return original.SdxlUNet2DConditionModel()
    finally:
        original.Transformer2DModel = plain


def _trees(model: dict[str, Any], folder: Path) -> dict[str, nn.Module]:
    """Return for each prefix a tree of bare layers under the names that the file's keys are made of."""
    names = model["ldm"] or {}
    tensors = load_file(folder / "unet.safetensors")
    found = {"lora_unet": _tree({names.get(name, name): tensor for name, tensor in tensors.items()})}
    for number, prefix in enumerate(_prefixes(model["text"])):
        texts = load_file(folder / f"text{number}.safetensors")
        found[prefix] = _tree({f"text_model.{name.removeprefix('text_model.')}": t for name, t in texts.items()})
    return found


def _tree(tensors: dict[str, torch.Tensor]) -> nn.Module:
    root = nn.Module()
    for name, weight in tensors.items():
        path, _, leaf = name.rpartition(".")
        if leaf != "weight" or weight.ndim not in (2, 4) or "embedding." in f"{path}." and "time" not in path:
            continue
        layer = (
            nn.Linear(*weight.shape[::-1]) if weight.ndim == 2 else nn.Conv2d(*weight.shape[1::-1], weight.shape[2:])
        )
        layer.weight = nn.Parameter(weight, requires_grad=False)
        *above, last = path.split(".")
        place = root
        for step in above:
            if not hasattr(place, step):
                place.add_module(step, nn.Module())
            place = getattr(place, step)
        place.add_module(last, layer)
    return root


LIBRARIES: dict[str, Callable[[dict[str, Any], Path, Path], Found]] = {
    one.__name__: one for one in (sd_scripts, lycoris_kohya, lycoris, diffusers)
}


def main() -> None:
    """Load each file, write what it changes, and print what was left over."""
    library, checkout, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    sys.path.insert(0, checkout)
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for path in map(Path, sys.argv[4:]):
            print(json.dumps(_row(library, model, folder, path)), file=answers, flush=True)


def _row(library: str, model: dict[str, Any], folder: Path, path: Path) -> dict[str, Any]:
    try:
        with torch.no_grad():
            changes, left = LIBRARIES[library](model, folder, path)
    except Exception as error:  # what a library raises at a file of ours is what is asked here
        logging.getLogger(__name__).exception("%s refuses %s", library, path)
        return {"refused": f"{type(error).__name__}: {error}"}
    own = {key: change.detach().clone().contiguous() for key, change in changes.items()}
    save_file(own, path.with_name(f"{library}.safetensors"))
    return {"modules": len(own), **left}


if __name__ == "__main__":
    main()
