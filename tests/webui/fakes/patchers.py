"""Fakes of the Forge family's patchers: patches by parameter, merged when they are refreshed."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.formats.keys import find_module


class Patcher:
    """What the patchers of the family share: `lora_patches` by file, and merging what differs from the merged state."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.lora_patches: dict[tuple[str, float, float, bool], dict[str, list[Any]]] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.object_patches: dict[str, Any] = {}

    def clone(self) -> Patcher:
        twin = type(self)(self.model)
        twin.lora_patches, twin.model_options = dict(self.lora_patches), copy.deepcopy(self.model_options)
        return twin

    def add_patches(
        self,
        *,
        filename: str,
        patches: Mapping[str, Any],
        strength_patch: float = 1.0,
        strength_model: float = 1.0,
        online_mode: bool = False,
    ) -> set[str]:
        known = {name for name, _ in self.model.named_parameters()}
        own = {
            key: [[strength_patch, patch, strength_model, None, None]] for key, patch in patches.items() if key in known
        }
        self.lora_patches[(filename, strength_patch, strength_model, online_mode)] = own
        return set(own)

    def entries(self) -> dict[str, list[Any]]:
        """Return all patches by parameter."""
        found: dict[str, list[Any]] = {}
        for patches in self.lora_patches.values():
            for key, rows in patches.items():
                found.setdefault(key, []).extend(rows)
        return found

    def state(self) -> str:
        """Return what tells one merged state from another."""
        return str(list(self.lora_patches))

    @torch.inference_mode()
    def bring(self) -> None:
        """Bring the weights to the patches; how a host asks for it differs."""
        backup = self.model.__dict__.setdefault("lora_backup", {})
        if self.model.__dict__.get("lora_state", str([])) == self.state():
            return
        for key, value in backup.items():
            place(self.model, key, value)
        backup.clear()
        for key, rows in self.entries().items():
            owner, last = owner_of(self.model, key)
            backup[key] = weight = getattr(owner, last)
            place(self.model, key, nn.Parameter(merged(weight, rows), requires_grad=False))
        self.model.__dict__["lora_state"] = self.state()


class ModelPatcher(Patcher):
    """Forge's patcher: asked for, it merges."""

    def refresh_loras(self) -> None:
        self.bring()


class NeoPatcher(Patcher):
    """Forge Neo's patcher: it merges as it is loaded; an id says of which patcher the weights are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.patches_uuid = uuid.uuid4()
        model.__dict__.setdefault("current_weight_patches_uuid", None)

    def clone(self) -> Patcher:
        twin = super().clone()
        twin.patches_uuid = self.patches_uuid
        return twin

    def add_patches(self, **given: Any) -> set[str]:
        self.patches_uuid = uuid.uuid4()
        return super().add_patches(**given)

    def bring(self) -> None:
        super().bring()
        self.model.__dict__["current_weight_patches_uuid"] = self.patches_uuid


def owner_of(root: nn.Module, key: str) -> tuple[nn.Module, str]:
    """Return the module that has a parameter, and the parameter's own name."""
    path, _, last = key.rpartition(".")
    return root.get_submodule(path), last


def place(root: nn.Module, key: str, value: nn.Parameter) -> None:
    """Put a parameter in place of the one that is there."""
    owner, last = owner_of(root, key)
    owner._parameters[last] = value


def merged(weight: Tensor, rows: Sequence[Sequence[Any]]) -> Tensor:
    """Return a weight with its patches; a patch is ``("lora", (up, down, alpha))``."""
    total = weight.detach().clone()
    for row in rows:
        up, down, alpha = row[1][1]
        scale = alpha / down.shape[0] if alpha is not None else 1.0
        total += row[0] * scale * (up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)).reshape(total.shape)
    return total


def patches_of(lora: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the patches of a file by the full names of the UNet's and of the text encoder's parameters."""
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, up in lora.items():
        key, _, part = name.partition(".")
        if part != "lora_up.weight":
            continue
        alpha = lora.get(f"{key}.alpha")
        patch = ("lora", (up, lora[f"{key}.lora_down.weight"], None if alpha is None else float(alpha)))
        found[int(key.startswith("lora_te"))][dotted(key)] = patch
    return found


def dotted(key: str) -> str:
    """Return the full name of the parameter that a kohya key changes."""
    module_name = find_module(key, "sd1")
    if key.startswith("lora_te"):
        return f"clip_l.transformer.{module_name.diffusers}.weight"
    return f"diffusion_model.{module_name.ldm}.weight"
