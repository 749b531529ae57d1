"""Fakes of reForge and Forge-classic: patchers with one list a parameter, and no name of a file in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from tests.webui.fakes.forge import Engine, Forge, ForgeNetworks, memory_functions
from tests.webui.fakes.patchers import ModelPatcher, patches_of
from tests.webui.fakes.put import module
from tests.webui.fakes.tiny_model import SdModel


class Patcher5(ModelPatcher):
    """reForge's patcher: one list of 5-tuples a parameter, and an id of the whole."""

    size = 5

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        del self.lora_patches
        self.patches: dict[str, list[tuple[Any, ...]]] = {}
        self.patches_uuid: object = object()

    def clone(self) -> Patcher5:
        twin = type(self)(self.model)
        twin.patches = {key: list(rows) for key, rows in self.patches.items()}
        twin.model_options = copy.deepcopy(self.model_options)
        return twin

    def add_patches(
        self, patches: Mapping[str, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> set[str]:
        known = {name for name, _ in self.model.named_parameters()}
        for key, patch in patches.items():
            if key in known:
                row = (strength_patch, patch, strength_model, None, None)
                self.patches.setdefault(key, []).append(row[: self.size])
        self.patches_uuid = object()
        return set(patches) & known

    def entries(self) -> dict[str, list[Any]]:
        return self.patches

    def state(self) -> str:
        return str([(key, [row[0] for row in rows], id(rows[0][1])) for key, rows in self.patches.items()])


class Patcher3(Patcher5):
    """Forge-classic's patcher: 3-tuples, and no id."""

    size = 3

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        del self.patches_uuid

    def add_patches(
        self, patches: Mapping[str, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> set[str]:
        added = super().add_patches(patches, strength_patch, strength_model)
        del self.patches_uuid
        return added


class ListNetworks(ForgeNetworks):
    """The module `networks` of reForge and classic: no file's name reaches the patches."""

    def load_lora_for_models(
        self, model: Any, clip: Any, lora: Mapping[str, Tensor], strength_model: float, strength_clip: float
    ) -> tuple[Any, Any]:
        unet, text = patches_of(lora)
        model, clip = model.clone(), clip.clone()
        model.add_patches(unet, strength_model)
        clip.add_patches(text, strength_clip)
        return model, clip

    def named(self, filename: str, online: bool) -> dict[str, Any]:
        """Return nothing."""
        return {}


class ClassicNetworks(ListNetworks):
    """The module `networks` of Forge-classic: it reads all its folders, or none."""

    missing = ("update_available_networks_by_names",)


class ReForgeEngine(Engine):
    """reForge's model: A1111's, with patchers beside it."""

    patcher = Patcher5

    def __init__(self, model: SdModel) -> None:
        super().__init__(model)
        self.model, self.alphas_cumprod, self.parameterization = (
            self.forge_objects.unet.model,
            model.alphas_cumprod,
            "eps",
        )


class ClassicEngine(ReForgeEngine):
    """Forge-classic's model."""

    patcher = Patcher3


class ReForge(Forge):
    """Fake reForge: `patches` with five parts and `patches_uuid`."""

    engine = ReForgeEngine
    networks_kind = ListNetworks

    def _lora_extension(self) -> None:
        super()._lora_extension()
        self.networks = self.networks_kind(self)

    def start(self) -> None:
        """Load nothing; `shared.sd_model` loads on access."""
        self.sd_model = None

    def memory_modules(self) -> dict[str, ModuleType]:
        """Return the modules of the older back end."""
        return {
            "ldm_patched": module("ldm_patched"),
            "ldm_patched.modules": module("ldm_patched.modules"),
            "ldm_patched.modules.model_management": module(
                "ldm_patched.modules.model_management", **memory_functions()
            ),
        }


class Classic(ReForge):
    """Fake Forge-classic: `patches` with three parts, no `name` for callbacks, no `sd_schedulers`."""

    engine = ClassicEngine
    networks_kind = ClassicNetworks
    names_callbacks = False

    def content(self) -> dict[str, ModuleType]:
        """Return the modules, without those that it lacks."""
        return {name: each for name, each in super().content().items() if name != "modules.sd_schedulers"}
