"""Fake of Forge: no model until the first picture, an engine instead of a module, patches instead of merges."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.webui.fakes.a1111 import A1111
from tests.webui.fakes.lora_extension import Network, Networks
from tests.webui.fakes.patchers import ModelPatcher, NeoPatcher, patches_of
from tests.webui.fakes.put import module
from tests.webui.fakes.tiny_model import SdModel, tiny_model
from tests.webui.fakes.training import Autoencoder


class ForgeLinear(nn.Module):
    """Forge's Linear: not torch's; its parameters are tensors that were made in inference mode."""

    def __init__(self, old: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = old.in_features, old.out_features
        self.scale_weight, self.parameters_manual_cast = None, False
        with torch.inference_mode():
            self.weight = nn.Parameter(old.weight.detach().clone(), requires_grad=False)
            self.bias = None if old.bias is None else nn.Parameter(old.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


def with_forge_layers(root: nn.Module) -> nn.Module:
    """Replace every Linear by Forge's, and every other parameter by an inference tensor."""
    for owner in list(root.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.Linear):
                setattr(owner, name, ForgeLinear(child))
    with torch.inference_mode():
        for owner in root.modules():
            for name, value in list(owner._parameters.items()):
                if value is not None and not value.is_inference():
                    owner._parameters[name] = nn.Parameter(value.detach().clone(), requires_grad=False)
    return root


class Objects:
    """`forge_objects`."""

    def __init__(self, unet: Any, clip: Any, vae: Any, clipvision: Any = None) -> None:
        self.unet, self.clip, self.vae, self.clipvision = unet, clip, vae, clipvision

    def shallow_copy(self) -> Objects:
        return Objects(self.unet, self.clip, self.vae, self.clipvision)


class Clip:
    """`forge_objects.clip`: the text encoders behind a patcher of their own."""

    def __init__(self, cond_stage_model: nn.Module, patcher: Any) -> None:
        self.cond_stage_model, self.patcher = cond_stage_model, patcher

    def clone(self) -> Clip:
        return Clip(self.cond_stage_model, self.patcher.clone())

    def add_patches(self, *arguments: Any, **named: Any) -> set[str]:
        return self.patcher.add_patches(*arguments, **named)


class Engine:
    """Forge's loaded model: no `nn.Module`, no `model`, no `cond_stage_model`."""

    is_sd1, is_sd2, is_sdxl, is_sd3 = True, False, False, False
    is_inpaint, first_stage_model, cond_stage_model = False, None, None
    patcher = ModelPatcher

    def __init__(self, model: SdModel) -> None:
        self._tiny = model
        unet = nn.Module()
        unet.diffusion_model = with_forge_layers(model.model.diffusion_model)
        unet.storage_dtype = unet.computation_dtype = torch.float32
        object.__setattr__(
            unet, "predictor", SimpleNamespace(prediction_type="epsilon", alphas_cumprod=model.alphas_cumprod)
        )
        text = nn.Module()
        text.clip_l = with_forge_layers(model.cond_stage_model.wrapped)
        vae = SimpleNamespace(first_stage_model=Autoencoder())
        vae.patcher = self.patcher(vae.first_stage_model)
        self.forge_objects = Objects(self.patcher(unet), Clip(text, self.patcher(text)), vae)
        self.text_processing_engine = SimpleNamespace(
            text_encoder=text.clip_l, tokenize=model.cond_stage_model.tokenize, id_start=0, id_end=0, id_pad=0,
            embeddings=SimpleNamespace(fixes=None), minimal_clip_skip=1, final_layer_norm=True, return_pooled=False,
        )  # fmt: skip
        self.forge_objects_original = self.forge_objects.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects.shallow_copy()
        self.current_lora_hash = str([])
        self.sd_checkpoint_info, self.sd_model_hash = model.sd_checkpoint_info, model.sd_model_hash

    def get_learned_conditioning(self, prompt: Sequence[str]) -> Tensor:
        self.forge_objects.clip.patcher.bring()
        return self._tiny.cond_stage_model(list(prompt))

    def encode_first_stage(self, x: Tensor) -> Tensor:
        return self._tiny.get_first_stage_encoding(self._tiny.encode_first_stage(x))

    def decode_first_stage(self, x: Tensor) -> Tensor:
        return self._tiny.decode_first_stage(x)

    def get_first_stage_encoding(self, x: Tensor) -> Tensor:
        return x

    def set_clip_skip(self, clip_skip: int) -> None:
        """Choose the layer; nothing here."""


class FakeInitialModel:
    """What stands in `shared.sd_model` before the first picture; true, and nearly empty, in Forge."""

    cond_stage_model, chunk_length = None, 75


class ForgeNetworks(Networks):
    """The module `networks` of the Forge family: files become patches of clones."""

    host: Forge

    def assign_network_names_to_compvis_modules(self, sd_model: Any) -> None:
        """Name nothing: there is no merge at forward time."""

    def load_network(self, name: str, network_on_disk: Any) -> Network:
        return Network(name, network_on_disk)

    def load_lora_for_models(
        self,
        model: Any,
        clip: Any,
        lora: Mapping[str, Tensor],
        strength_model: float,
        strength_clip: float,
        filename: str = "default",
        online_mode: bool = False,
    ) -> tuple[Any, Any]:
        unet, text = patches_of(lora)
        model, clip = model.clone(), clip.clone()
        model.add_patches(filename=filename, patches=unet, strength_patch=strength_model, online_mode=online_mode)
        clip.add_patches(filename=filename, patches=text, strength_patch=strength_clip, online_mode=online_mode)
        return model, clip

    def load_networks(
        self,
        names: Sequence[str],
        te_multipliers: Sequence[float] | None = None,
        unet_multipliers: Sequence[float] | None = None,
        dyn_dims: Sequence[int | None] | None = None,
    ) -> None:
        engine = self.host.sd_model
        if not isinstance(engine, Engine):
            return
        super().load_networks(names, te_multipliers, unet_multipliers, dyn_dims)
        rows = zip(self.loaded_networks, unet_multipliers or [], te_multipliers or [], strict=True)
        targets = [[net.network_on_disk.filename, unet, te, False] for net, unet, te in rows]
        if engine.current_lora_hash == str(targets):
            return
        engine.current_lora_hash = str(targets)
        objects, original = engine.forge_objects, engine.forge_objects_original
        objects.unet, objects.clip = original.unet, original.clip
        for filename, unet, te, online in targets:
            loaded = self.load_lora_for_models(
                objects.unet, objects.clip, load_file(filename), unet, te, **self.named(filename, online)
            )
            objects.unet, objects.clip = loaded
        engine.forge_objects_after_applying_lora = objects.shallow_copy()

    def named(self, filename: str, online: bool) -> dict[str, Any]:
        """Return what only Forge passes on."""
        return {"filename": filename, "online_mode": online}


class Forge(A1111):
    """Fake Forge: `lora_patches`."""

    engine: type[Engine] = Engine

    def _lora_extension(self) -> None:
        super()._lora_extension()
        self.networks = ForgeNetworks(self)

    def start(self) -> None:
        """Load nothing: Forge waits for the first picture."""
        self.sd_model = FakeInitialModel()

    def patch(self) -> None:
        """Change no layer."""

    def unpatch(self) -> None:
        """Change none back."""

    def load_model(self, model: SdModel | None = None) -> Any:
        """Load as the first picture does, in inference mode."""
        with torch.inference_mode():
            self.sd_model = self.engine(model or tiny_model())
        self.callbacks.call("model_loaded", self.sd_model)
        return self.sd_model

    def process_images(self, p: Any) -> Any:
        """The host's function: loads where nothing is loaded, and works in inference mode."""
        if not isinstance(self.sd_model, Engine):
            self.load_model()
        engine = self.sd_model
        engine.forge_objects = engine.forge_objects_original.shallow_copy()
        p.host_model = engine._tiny
        with torch.inference_mode():
            return _process(self, p)

    def apply_model(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Predict in chunks of a batch, unconds first, as the family's sampler does."""
        unet = self.sd_model.forge_objects.unet
        unet.bring()
        half = x.shape[0] // 2
        order = [*range(half, 2 * half), *range(half)]
        out = unet.model.diffusion_model(x[order], t[order], context=cond[order], transformer_options={})
        return torch.cat([out[half:], out[:half]])

    def own_content(self) -> dict[str, ModuleType]:
        """Return the family's own modules; no module of A1111's that it lacks."""
        return {
            "networks": self.networks.module(),
            "modules_forge": module("modules_forge"),
            "modules_forge.main_thread": module("modules_forge.main_thread", run_and_wait_result=run_and_wait_result),
            **self.memory_modules(),
        }

    def memory_modules(self) -> dict[str, ModuleType]:
        """Return the modules of Forge's back end."""
        return {
            "backend": module("backend"),
            "backend.memory_management": module("backend.memory_management", **memory_functions()),
            "backend.nn": module("backend.nn"),
            "backend.nn.unet": module("backend.nn.unet", attention_function=other_attention),
            "backend.attention": module("backend.attention", attention_pytorch=attention_pytorch),
            "backend.operations": module("backend.operations", ForgeOperations=SimpleNamespace(Linear=ForgeLinear)),
        }


def _process(host: Forge, p: Any) -> Any:
    from tests.webui.fakes import processing

    engine, activate = host.sd_model, host.extra_networks.activate

    def activated(p: Any, data: Any) -> None:
        activate(p, data)
        engine.forge_objects = engine.forge_objects_after_applying_lora.shallow_copy()
        engine.forge_objects.clip.patcher.bring()

    view = _View(host, engine, activated)
    return processing.process_images(view, p)


class _View:
    """The host as the generation sees it, with the family's flow around `activate` and its own conditioning."""

    def __init__(self, host: Forge, engine: Engine, activated: Any) -> None:
        self._host = host
        networks = host.extra_networks
        self.extra_networks = SimpleNamespace(
            activate=activated, deactivate=networks.deactivate, parse_prompts=networks.parse_prompts
        )
        self.sd_model = engine._tiny

    def __getattr__(self, item: str) -> Any:
        return getattr(self._host, item)


def run_and_wait_result(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Call on the main thread; here there is only one. None where it raised, as in the host."""
    try:
        return func(*args, **kwargs)
    except Exception:
        return None


def attention_pytorch() -> str:
    """Forge's attention by PyTorch's own function; only told apart here, never called."""
    return "pytorch"


def other_attention() -> str:
    """The attention that the host's user chose."""
    return "chosen"


class NeoEngine(Engine):
    """Forge Neo's loaded model."""

    patcher = NeoPatcher


class Neo(Forge):
    """Fake Forge Neo: patchers without `refresh_loras`, which are brought to their patches when they are loaded."""

    engine = NeoEngine

    def memory_modules(self) -> dict[str, ModuleType]:
        """Return Forge's back end with Neo's way to load."""
        found = super().memory_modules()
        found["backend.memory_management"].load_model_gpu = lambda patcher: patcher.bring()
        return found


def memory_functions() -> dict[str, Any]:
    """Return the functions of a memory manager with memory enough."""
    nothing = functools.partial(lambda *arguments, **named: None)
    names = ("load_model_gpu", "load_models_gpu", "free_memory", "unload_all_models", "soft_empty_cache")
    return {**dict.fromkeys(names, nothing), "get_torch_device": lambda: torch.device("cpu")}
