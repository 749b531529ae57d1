"""Write the small files by which adapters are compared with LyCORIS and PEFT: their tensors and their own change.

pip install torch lycoris-lora==4.1.3 peft==0.21.2 safetensors
python tools/adapter_cases.py --out tests/formats/library_cases lycoris peft lycoris_training

In an environment of its own, for what LyCORIS saved otherwise in 2023:
pip install torch lycoris-lora==2.0.1 safetensors
python tools/adapter_cases.py --out tests/formats/library_cases lycoris2

One file a library, and one of LyCORIS' training. A tensor is called ``CASE|NAME``: ``base.weight`` and ``base.bias``
are the layer's, ``delta.weight`` and ``delta.bias`` what the library's merge adds to them, everything else is as the
library saves it. The header holds each case's options where there are some.

In a case of training ``start.PART`` holds shape, mean, spread and largest number of what LyCORIS begins with on a layer
of 60 x 48, the parts are numbers somewhere in between, ``x`` an input, ``y`` what is added to the layer's output,
``grad.PART`` the gradients of the mean of y squared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV_KEY = "lora_unet_mid_block_resnets_0_conv1"
NORM_KEY = "lora_unet_down_blocks_0_resnets_0_norm1"
DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV_DOTTED = "mid_block.resnets.0.conv1"

Case = tuple[dict[str, Tensor], dict[str, Any] | None]


def main() -> None:
    """Write a file for each library that is named."""
    made = {
        "lycoris": lycoris_cases,
        "lycoris2": old_lycoris_cases,
        "peft": peft_cases,
        "lycoris_training": training_cases,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("libraries", nargs="+", choices=tuple(made))
    options = parser.parse_args()
    folder = options.out
    folder.mkdir(parents=True, exist_ok=True)
    for library in options.libraries:
        cases = made[library]()
        tensors: dict[str, Tensor] = {}
        configs: dict[str, str] = {}
        for name, (found, config) in cases:
            tensors.update({f"{name}|{part}": tensor.detach().clone().contiguous() for part, tensor in found.items()})
            if config is not None:
                configs[name] = json.dumps(config)
        save_file(tensors, folder / f"{library}.safetensors", metadata=configs)
        print(library, len(tensors), "tensors")


def linear(rows: int = 6, columns: int = 8) -> nn.Module:
    """Return a layer with random numbers."""
    return nn.Linear(columns, rows)


def conv(kernel: int = 3) -> nn.Module:
    """Return a convolution with random numbers."""
    return nn.Conv2d(4, 6, kernel, padding=kernel // 2)


def lycoris_cases() -> Iterator[tuple[str, Case]]:
    """Yield a case for every kind and form that LyCORIS saves."""
    from lycoris.modules import boft, diag_oft, dylora, full, glora, ia3, locon, loha, lokr, norms, tlora

    low = {"lora_dim": 2, "alpha": 1.5}
    wide = {"lora_dim": 3, "alpha": 2.0}
    in_axis, out_axis = {"weight_decompose": True, "wd_on_out": False}, {"weight_decompose": True, "wd_on_out": True}
    kron = {"lora_dim": 1, "alpha": 0.7, "factor": 2}
    table: dict[str, tuple[Any, Callable[[], nn.Module], dict[str, Any]]] = {
        "lora": (locon.LoConModule, linear, low),
        "locon": (locon.LoConModule, conv, low),
        "locon tucker": (locon.LoConModule, conv, {**low, "use_tucker": True}),
        "loha": (loha.LohaModule, linear, low),
        "loha tucker": (loha.LohaModule, conv, {**low, "use_tucker": True}),
        "lokr": (lokr.LokrModule, linear, kron),
        "lokr conv": (lokr.LokrModule, conv, kron),
        "dora in": (locon.LoConModule, linear, {**low, **in_axis}),
        "dora out": (locon.LoConModule, linear, {**low, **out_axis}),
        "dora in conv": (locon.LoConModule, conv, {**low, **in_axis}),
        "dora out conv": (locon.LoConModule, conv, {**low, **out_axis}),
        "dora square in": (locon.LoConModule, lambda: linear(6, 6), {**low, **in_axis}),
        "dora square out": (locon.LoConModule, lambda: linear(6, 6), {**low, **out_axis}),
        "dora loha in": (loha.LohaModule, linear, {**low, **in_axis}),
        "dora loha out": (loha.LohaModule, conv, {**low, **out_axis}),
        "dora lokr in": (lokr.LokrModule, conv, {**kron, **in_axis}),
        "dora lokr out": (lokr.LokrModule, linear, {**kron, **out_axis}),
        "ia3 out": (ia3.IA3Module, linear, {}),
        "ia3 in": (ia3.IA3Module, linear, {"train_on_input": True}),
        "ia3 out conv": (ia3.IA3Module, conv, {}),
        "ia3 in conv": (ia3.IA3Module, conv, {"train_on_input": True}),
        "oft": (diag_oft.DiagOFTModule, linear, {"lora_dim": 2}),
        "oft bounded": (diag_oft.DiagOFTModule, conv, {"lora_dim": 2, "constraint": 0.05}),
        "oft rescaled": (diag_oft.DiagOFTModule, lambda: linear(6, 6), {"lora_dim": 2, "rescaled": True}),
        "boft": (boft.ButterflyOFTModule, lambda: linear(16, 8), {"lora_dim": 2}),
        "boft conv": (boft.ButterflyOFTModule, lambda: nn.Conv2d(4, 12, 3), {"lora_dim": 6, "constraint": 0.04}),
        "boft rescaled": (boft.ButterflyOFTModule, lambda: linear(8, 8), {"lora_dim": 4, "rescaled": True}),
        "glora": (glora.GLoRAModule, linear, low),
        "glora conv": (glora.GLoRAModule, conv, low),
        "full": (full.FullModule, linear, {}),
        "full conv": (full.FullModule, conv, {}),
        "norm group": (norms.NormModule, lambda: nn.GroupNorm(2, 8), {}),
        "norm layer": (norms.NormModule, lambda: nn.LayerNorm(8), {}),
        "dylora": (dylora.DyLoraModule, linear, {"lora_dim": 3, "alpha": 1.5, "block_size": 1}),
        "tlora": (tlora.TLoraModule, linear, wide),
        "tlora conv": (tlora.TLoraModule, lambda: conv(1), wide),
    }
    for number, (name, (kind, layer, options)) in enumerate(table.items()):
        torch.manual_seed(number)
        base = layer()
        if base.weight.ndim == 1:
            nn.init.normal_(base.weight)
            nn.init.normal_(base.bias)
        yield name, (_of_lycoris(kind, base, options), None)
    for number, (name, layer) in enumerate((("sparse", linear), ("sparse conv", conv))):
        torch.manual_seed(50 + number)
        yield name, (_extracted(layer), None)


def _extracted(layer: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Return what LyCORIS' extraction saves of two layers' difference, with half of what the low rank missed."""
    from lycoris.utils import extract_diff

    tuned = layer()
    key, path = (KEY, DOTTED) if tuned.weight.ndim == 2 else (CONV_KEY, CONV_DOTTED)
    models = [_model({path: one}) for one in (layer(), tuned)]
    options = {"mode": "fixed", "linear_mode_param": 2, "conv_mode_param": 2, "small_conv": False}
    saved = extract_diff([], [], *models, use_bias=True, sparsity=0.5, **options)
    base = models[0].get_submodule(path).weight
    parts = {name.partition(".")[2]: tensor for name, tensor in saved.items()}
    low = parts["lora_up.weight"].float().flatten(1) @ parts["lora_down.weight"].float().flatten(1)
    size = tuple(parts["bias_size"].tolist())
    rest = torch.sparse_coo_tensor(parts["bias_indices"].long(), parts["bias_values"].float(), size).to_dense()
    whole = (low + rest).reshape(base.shape)
    missed = [float((change.reshape(base.shape) - tuned.weight + base).norm()) for change in (whole, low)]
    assert missed[0] < 0.5 * missed[1]
    return {**{f"{key}.{part}": tensor for part, tensor in parts.items()}, "base.weight": base, "delta.weight": whole}


def old_lycoris_cases() -> Iterator[tuple[str, Case]]:
    """Yield a case for every form that LyCORIS 2.0 saved and later versions do not."""
    from lycoris.modules import diag_oft

    table: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
        "oft old": (linear, {"lora_dim": 2}),
        "oft old bounded": (conv, {"lora_dim": 2, "constrain": 0.05}),
        "oft old rescaled": (lambda: linear(6, 6), {"lora_dim": 2, "rescaled": True}),
    }
    for number, (name, (layer, options)) in enumerate(table.items()):
        torch.manual_seed(70 + number)
        base = layer()
        module = diag_oft.DiagOFTModule(KEY, base, 1.0, **options)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            key = KEY if base.weight.ndim == 2 else CONV_KEY
            saved = {f"{key}.{part}": tensor for part, tensor in module.custom_state_dict().items()}
            change = module.make_weight().reshape(base.weight.shape) - base.weight
        yield name, ({**saved, "base.weight": base.weight, "delta.weight": change}, None)


TRAINED = ("locon", "loha", "lokr")


def training_cases() -> Iterator[tuple[str, Case]]:
    """Yield start, forward pass and gradients of every kind that is trained, on a Linear and a convolution."""
    from lycoris.modules import locon, loha, lokr

    classes = {"locon": locon.LoConModule, "loha": loha.LohaModule, "lokr": lokr.LokrModule}
    for number, (kind, decomposed) in enumerate([(kind, wd) for kind in TRAINED for wd in (False, True)]):
        for form, small, large in (
            ("linear", linear, lambda: nn.Linear(48, 60)),
            ("conv", conv, lambda: nn.Conv2d(48, 60, 3, padding=1)),
        ):
            torch.manual_seed(100 + number)
            more = {"weight_decompose": True, "wd_on_out": False} if decomposed else {}
            fresh = classes[kind](KEY, large(), 1.0, lora_dim=4, alpha=2.0, **more)
            found = {f"start.{part}": _facts(tensor) for part, tensor in _state(fresh).items() if part != "alpha"}
            rank = 1 if kind == "lokr" else 2  # else its second factor is whole
            module = classes[kind](KEY, small(), 1.0, lora_dim=rank, alpha=1.5, **more)
            yield f"{'dora ' if decomposed else ''}{kind} {form}", ({**found, **_step(module)}, None)
    torch.manual_seed(200)
    whole = lokr.LokrModule(KEY, linear(), 1.0, lora_dim=8, alpha=1.5, factor=2)
    yield "lokr whole", (_step(whole), None)


def _facts(tensor: Tensor) -> Tensor:
    own = tensor.detach().float()
    spread = own.std() if own.numel() > 1 else own.new_zeros(())
    return torch.tensor([*own.shape, own.mean(), spread, own.abs().max()])


def _step(module: Any) -> dict[str, Tensor]:
    """Return a module's parts full of random numbers, a forward pass, and the gradients of its mean square."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("org_"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    parts = {name: tensor.detach().clone() for name, tensor in _state(module).items()}
    base = module.org_module[0]
    x = torch.randn(3, 4, 5, 5) if isinstance(base, nn.Conv2d) else torch.randn(3, 7, 8)
    y = module(x) - module.org_forward(x)
    y.square().mean().backward()
    own = dict(module.named_parameters())
    grads = {f"grad.{name}": own[name].grad for name in parts if name in own}
    return {**parts, **grads, "base.weight": base.weight, "x": x, "y": y}


def _of_lycoris(kind: Any, base: nn.Module, options: dict[str, Any]) -> dict[str, Tensor]:
    """Return what LyCORIS saves of a module full of random numbers, and what its merge adds."""
    key = {1: NORM_KEY, 2: KEY}.get(base.weight.ndim, CONV_KEY)
    module = kind(key, base, 1.0, **options)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith(("org_", "base_")):
                parameter.add_(torch.randn_like(parameter) * 0.3)
        saved = {f"{key}.{part}": tensor.detach().clone() for part, tensor in _state(module).items()}
        more = {"rank": options["lora_dim"] - 1} if "block_size" in options else {}
        if options.keys() & {"factor"} or "Loha" in kind.__name__:  # their merge multiplies with alpha/rank twice;
            weight, bias = base.weight + module.get_weight(base.weight.shape), None  # in training and in use once
            weight = module.apply_weight_decompose(weight) if module.wd else weight
        else:
            weight, bias = module.get_merged_weight(1.0, shape=base.weight.shape, **more)
    found = {**saved, "base.weight": base.weight, "delta.weight": weight.reshape(base.weight.shape) - base.weight}
    if bias is not None:
        found |= {"base.bias": base.bias, "delta.bias": bias - base.bias}
    return found


def _state(module: Any) -> dict[str, Tensor]:
    """Return what a module gives its network to save."""
    own = getattr(module, "custom_state_dict", None)
    state = own() if own is not None and type(module).__name__ != "FullModule" else None
    if state is not None:
        return state
    if type(module).__name__ == "FullModule":  # still a difference: its own saving wants it merged
        return {"diff": module.weight, "diff_b": module.bias}
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(("org_", "base_"))}


def peft_cases() -> Iterator[tuple[str, Case]]:
    """Yield a case for every kind and form that PEFT saves; each with its adapter_config.json."""
    import peft

    _without_compiler()
    both = {"target_modules": ["to_q", "conv1"]}
    linear_only, conv_only = {"target_modules": ["to_q"]}, {"target_modules": ["conv1"]}
    lora = {"r": 2, "lora_alpha": 3}
    feed = {"target_modules": ["to_q"], "feedforward_modules": ["to_q"]}
    table: dict[str, tuple[Any, dict[str, Any]]] = {
        "lora": (peft.LoraConfig, {**lora, **both}),
        "lora bias": (peft.LoraConfig, {**lora, **both, "lora_bias": True}),
        "dora": (peft.LoraConfig, {**lora, **linear_only, "use_dora": True}),
        "dora conv": (peft.LoraConfig, {**lora, **conv_only, "use_dora": True}),
        "dora rslora": (peft.LoraConfig, {**lora, **both, "use_dora": True, "use_rslora": True}),
        "ia3 out": (peft.IA3Config, {**linear_only, "feedforward_modules": []}),
        "ia3 in": (peft.IA3Config, feed),
        "oft v2": (peft.OFTConfig, {**both, "r": 0, "oft_block_size": 4}),
        "oft v2 shared": (peft.OFTConfig, {**linear_only, "r": 0, "oft_block_size": 4, "block_share": True}),
        "oft v2 inverse": (peft.OFTConfig, {**both, "r": 0, "oft_block_size": 4, "use_cayley_neumann": False}),
        "oft v2 terms": (peft.OFTConfig, {**both, "r": 0, "oft_block_size": 4, "num_cayley_neumann_terms": 7}),
        "oft v2 three terms": (peft.OFTConfig, {**both, "r": 0, "oft_block_size": 4, "num_cayley_neumann_terms": 3}),
        "oft v2 bounded": (peft.OFTConfig, {**linear_only, "r": 0, "oft_block_size": 4, "coft": True, "eps": 0.1}),
        "loha": (peft.LoHaConfig, {**linear_only, "r": 2, "alpha": 3}),
        "lokr": (peft.LoKrConfig, {**linear_only, "r": 1, "alpha": 3}),
        "boft": (peft.BOFTConfig, {**both, "boft_block_size": 4}),
        "boft two stages": (peft.BOFTConfig, {**both, "boft_block_size": 2, "boft_n_butterfly_factor": 2}),
        "boft three stages": (peft.BOFTConfig, {**linear_only, "boft_block_size": 2, "boft_n_butterfly_factor": 3}),
        "boft odd": (peft.BOFTConfig, {**conv_only, "boft_block_size": 3}),
        "ia3 out of": (peft.IA3Config, {**conv_only, "feedforward_modules": []}),
        "ia3 into": (peft.IA3Config, {**conv_only, "feedforward_modules": r".*\.conv1"}),
    }
    for number, (name, (config, options)) in enumerate(table.items()):
        torch.manual_seed(100 + number)
        for part, case in _of_peft(peft, config(**options)):
            yield f"{name} {part}".strip(), case


def _without_compiler() -> None:
    """Let PEFT's BOFT do in torch what it compiles for CUDA: put a batch's blocks on the diagonal."""
    from peft.tuners.boft import layer

    class OnDiagonal:
        def forward(self, blocks: Tensor) -> tuple[Tensor]:
            return (torch.stack([torch.block_diag(*one) for one in blocks]),)

        def backward(self, gradient: Tensor, blocks: Tensor) -> tuple[Tensor]:
            raise NotImplementedError

    layer.get_fbd_cuda = OnDiagonal


def _of_peft(peft: Any, config: Any) -> Iterator[tuple[str, Case]]:
    """Yield what PEFT saves of each layer of a small model, and what its merge adds there."""
    model = _model({DOTTED: nn.Linear(8, 6), CONV_DOTTED: nn.Conv2d(4, 6, 3, padding=1)})
    base = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    saved = {name: tensor.detach().clone() for name, tensor in peft.get_peft_model_state_dict(wrapped).items()}
    merged = dict(wrapped.merge_and_unload().named_parameters())
    told = {
        name: value
        for name, value in json.loads(json.dumps(config.to_dict(), default=sorted)).items()
        if value is not None
    }
    for part, path in (("linear", DOTTED), ("conv", CONV_DOTTED)):
        own = {name: tensor for name, tensor in saved.items() if path in name}
        if own:
            found = {**own, "base.weight": base[f"{path}.weight"], "base.bias": base[f"{path}.bias"]}
            found |= {f"delta.{one}": merged[f"{path}.{one}"] - base[f"{path}.{one}"] for one in ("weight", "bias")}
            yield part, (found, told)


def _model(layers: dict[str, nn.Module]) -> nn.Module:
    """Return a model that has layers at some paths."""
    model = nn.Module()
    for path, layer in layers.items():
        *above, leaf = path.split(".")
        place = model
        for step in above:
            if not hasattr(place, step):
                place.add_module(step, nn.Module())
            place = getattr(place, step)
        place.add_module(leaf, layer)
    return model


if __name__ == "__main__":
    main()
