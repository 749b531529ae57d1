"""Fake of A1111's built-in Lora extension: files by name, the merge in place at forward time, the `lora` network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lib_lora.formats.header import read_header
from lib_lora.formats.keys import find_module
from tests.webui.fakes.extra_networks import ExtraNetwork, ExtraNetworkParams
from tests.webui.fakes.put import module

if TYPE_CHECKING:
    from tests.webui.fakes.a1111 import A1111

PATCHED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


def compvis_name(key: str) -> str:
    """Return the host's name of the layer that a kohya key means; the key itself where it means none."""
    if key.startswith("lora_te_"):
        return "transformer_" + key.removeprefix("lora_te_")
    found = find_module(key, "sd1")
    return key if found is None else "diffusion_model_" + found.ldm.replace(".", "_")


class NetworkOnDisk:
    """A file that the host lists."""

    def __init__(self, name: str, filename: str) -> None:
        self.name, self.filename = name, filename
        self.metadata = dict(read_header(filename).metadata)
        self.alias = self.metadata.get("ss_output_name", name)
        self.is_safetensors = True
        self.hash = f"{Path(filename).stat().st_size:064x}"
        self.shorthash = self.hash[-12:]

    def read_hash(self) -> None:
        """Compute the hash where it is not known yet."""

    def get_alias(self) -> str:
        return self.alias


class NetworkModule:
    """One LoRA module of a file, for one layer."""

    def __init__(self, net: Network, sd_key: str, parts: dict[str, Tensor]) -> None:
        self.network, self.sd_key, self.parts = net, sd_key, parts

    def multiplier(self) -> float:
        return self.network.te_multiplier if "transformer" in self.sd_key[:20] else self.network.unet_multiplier

    def calc_updown(self, target: Tensor) -> tuple[Tensor, None]:
        up, down = self.parts["lora_up.weight"], self.parts["lora_down.weight"]
        rank = down.shape[0]
        scale = float(self.parts["alpha"]) / rank if "alpha" in self.parts else 1.0
        dense = (up.reshape(up.shape[0], -1) @ down.reshape(rank, -1)).reshape(target.shape)
        return dense * scale * self.multiplier(), None


class Network:
    """A file in memory; the host keeps these objects from one picture to the next."""

    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name, self.network_on_disk = name, network_on_disk
        self.te_multiplier, self.unet_multiplier = 1.0, 1.0
        self.dyn_dim: int | None = None
        self.modules: dict[str, NetworkModule] = {}
        self.bundle_embeddings: dict[str, Any] = {}
        self.mtime = os.path.getmtime(network_on_disk.filename)
        self.mentioned_name: str | None = None


class Networks:
    """The module `networks` over one host; an older one is ``missing`` some functions."""

    missing: tuple[str, ...] = ()

    def __init__(self, host: A1111) -> None:
        self.host = host
        self.loaded_networks: list[Network] = []
        self.available_networks: dict[str, NetworkOnDisk] = {}
        self.available_network_aliases: dict[str, NetworkOnDisk] = {}
        self.available_network_hash_lookup: dict[str, NetworkOnDisk] = {}
        self.forbidden_network_aliases: dict[str, int] = {}
        self.networks_in_memory: dict[str, Network] = {}
        self.originals: dict[type, Any] = {}
        self.merges = 0

    def list_available_networks(self) -> None:
        for known in (self.available_networks, self.available_network_aliases, self.available_network_hash_lookup):
            known.clear()
        for path in sorted(Path(self.host.cmd_opts.lora_dir).rglob("*.safetensors")):
            entry = NetworkOnDisk(path.stem, str(path))
            self.available_networks[entry.name] = entry
            self.available_network_aliases[entry.name] = self.available_network_aliases[entry.alias] = entry
            self.available_network_hash_lookup[entry.shorthash] = entry

    def update_available_networks_by_names(self, names: list[str]) -> None:
        self.list_available_networks()

    def assign_network_names_to_compvis_modules(self, sd_model: Any) -> None:
        mapping = {}
        for root in (sd_model.cond_stage_model.wrapped, sd_model.model):
            for name, layer in root.named_modules():
                layer.network_layer_name = name.replace(".", "_")
                mapping[layer.network_layer_name] = layer
        sd_model.network_layer_mapping = mapping

    def load_network(self, name: str, network_on_disk: NetworkOnDisk) -> Network:
        net = Network(name, network_on_disk)
        grouped: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(network_on_disk.filename).items():
            layer, _, part = key.partition(".")
            grouped.setdefault(layer, {})[part] = tensor
        for layer, parts in grouped.items():
            inner = compvis_name(layer)
            if inner in self.host.sd_model.network_layer_mapping:
                net.modules[inner] = NetworkModule(net, inner, parts)
        return net

    def load_networks(
        self,
        names: Sequence[str],
        te_multipliers: Sequence[float] | None = None,
        unet_multipliers: Sequence[float] | None = None,
        dyn_dims: Sequence[int | None] | None = None,
    ) -> None:
        self.loaded_networks.clear()
        if any(name not in self.available_network_aliases for name in names):
            self.list_available_networks()
        missing = []
        for number, name in enumerate(names):
            entry = self.available_network_aliases.get(name)
            if entry is None:
                missing.append(name)
                continue
            net = self.networks_in_memory.get(name) or self.load_network(name, entry)
            self.networks_in_memory[name] = net
            net.mentioned_name = name
            net.te_multiplier = te_multipliers[number] if te_multipliers else 1.0
            net.unet_multiplier = unet_multipliers[number] if unet_multipliers else 1.0
            net.dyn_dim = dyn_dims[number] if dyn_dims else None
            self.loaded_networks.append(net)
        if missing:
            self.host.model_hijack.comments.append(f"Lora not found: {', '.join(missing)}")

    def network_restore_weights_from_backup(self, layer: nn.Module) -> None:
        weight = getattr(layer, "network_weights_backup", None)
        if weight is not None:
            layer.weight.copy_(weight)
            if layer.network_bias_backup is not None:
                layer.bias.copy_(layer.network_bias_backup)

    def network_reset_cached_weight(self, layer: nn.Module) -> None:
        layer.network_current_names = ()
        layer.network_weights_backup = layer.network_bias_backup = None

    def network_apply_weights(self, layer: nn.Module) -> None:
        name = getattr(layer, "network_layer_name", None)
        if name is None:
            return
        current = getattr(layer, "network_current_names", ())
        wanted = tuple((n.name, n.te_multiplier, n.unet_multiplier, n.dyn_dim) for n in self.loaded_networks)
        if getattr(layer, "network_weights_backup", None) is None and wanted != ():
            if current != ():
                raise RuntimeError(f"{name} - no backup weights found and current weights are not unchanged")
            layer.network_weights_backup = layer.weight.to("cpu", copy=True)
            layer.network_bias_backup = None if layer.bias is None else layer.bias.to("cpu", copy=True)
        if current == wanted:
            return
        self.network_restore_weights_from_backup(layer)
        for net in self.loaded_networks:
            part = net.modules.get(name)
            if part is not None:
                with torch.no_grad():
                    change, _ = part.calc_updown(layer.weight)
                    layer.weight.copy_((layer.weight.to(change.dtype) + change).to(layer.weight.dtype))
                self.merges += 1
        layer.network_current_names = wanted

    def patch(self) -> None:
        """Let every layer of the process ask for its weights before it works, as the extension does at its import."""
        for kind in PATCHED:
            original = self.originals[kind] = kind.forward
            kind.forward = self._asking(original)

    def _asking(self, original: Any) -> Any:
        def forward(layer: nn.Module, *arguments: Any, **named: Any) -> Any:
            self.network_apply_weights(layer)
            return original(layer, *arguments, **named)

        return forward

    def undo(self) -> None:
        """Take the patches back."""
        for kind, original in self.originals.items():
            kind.forward = original
        self.originals.clear()

    def module(self) -> ModuleType:
        """Return it as the host's module."""
        left_out = ("module", "patch", "host", "undo", "merges", "missing")
        names = [name for name in dir(self) if not name.startswith("_") and name not in (*left_out, *self.missing)]
        return module("networks", **{name: getattr(self, name) for name in names})


class ExtraNetworkLora(ExtraNetwork):
    """What the extension registers as `lora` and, by its alias, as `lyco`."""

    def __init__(self, host: A1111) -> None:
        super().__init__("lora")
        self.host = host
        self.errors: dict[str, int] = {}

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        networks, names, te, unet, dyn = self.host.networks, [], [], [], []
        for params in params_list:
            names.append(params.positional[0])
            first = float(params.positional[1]) if len(params.positional) > 1 else 1.0
            te.append(float(params.named.get("te", first)))
            second = float(params.positional[2]) if len(params.positional) > 2 else te[-1]
            unet.append(float(params.named.get("unet", second)))
            size = int(params.positional[3]) if len(params.positional) > 3 else None
            dyn.append(int(params.named["dyn"]) if "dyn" in params.named else size)
        networks.load_networks(names, te, unet, dyn)
        if self.host.opts.lora_add_hashes_to_infotext:
            if not getattr(p, "is_hr_pass", False) or not hasattr(p, "lora_hashes"):
                p.lora_hashes = {}
            for item in networks.loaded_networks:
                p.lora_hashes[item.mentioned_name] = item.network_on_disk.shorthash
            if p.lora_hashes:
                texts = (f"{name}: {code}" for name, code in p.lora_hashes.items())
                p.extra_generation_params["Lora hashes"] = ", ".join(texts)

    def deactivate(self, p: Any) -> None:
        if self.errors:
            p.comment(f"Networks with errors: {', '.join(self.errors)}")
            self.errors.clear()
