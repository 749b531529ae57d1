"""Fake of `modules.extra_networks`: the registry, and who is activated with what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from tests.webui.fakes.put import module


class ExtraNetworkParams:
    """One tag of a prompt, split at its colons."""

    def __init__(self, items: Sequence[Any] | None = None) -> None:
        self.items = items or []
        self.positional: list[Any] = []
        self.named: dict[str, str] = {}
        for item in self.items:
            parts = item.split("=", 2) if isinstance(item, str) else [item]
            if len(parts) == 2:
                self.named[parts[0]] = parts[1]
            else:
                self.positional.append(item)

    def __eq__(self, other: Any) -> bool:
        return self.items == other.items


class ExtraNetwork:
    """What registers for a kind of tag."""

    def __init__(self, name: str) -> None:
        self.name = name

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        raise NotImplementedError

    def deactivate(self, p: Any) -> None:
        raise NotImplementedError


Data = Mapping[str, list[ExtraNetworkParams]]


class ExtraNetworks:
    """The module's functions over one registry; errors that the host would print gather in ``printed``."""

    def __init__(self) -> None:
        self.extra_network_registry: dict[str, ExtraNetwork] = {}
        self.extra_network_aliases: dict[str, ExtraNetwork] = {}
        self.printed: list[Exception] = []

    def register_extra_network(self, extra_network: ExtraNetwork) -> None:
        self.extra_network_registry[extra_network.name] = extra_network

    def register_extra_network_alias(self, extra_network: ExtraNetwork, alias: str) -> None:
        self.extra_network_aliases[alias] = extra_network

    def lookup_extra_networks(self, extra_network_data: Data) -> dict[ExtraNetwork, list[ExtraNetworkParams]]:
        found: dict[ExtraNetwork, list[ExtraNetworkParams]] = {}
        for name, given in list(extra_network_data.items()):
            network = self.extra_network_registry.get(name) or self.extra_network_aliases.get(name)
            if network is not None:
                found.setdefault(network, []).extend(given)
        return found

    def activate(self, p: Any, extra_network_data: Data) -> None:
        activated = []
        for network, given in self.lookup_extra_networks(extra_network_data).items():
            try:
                network.activate(p, given)
                activated.append(network)
            except Exception as error:  # the host goes on, whatever an extension does
                self.printed.append(error)
        for network in self.extra_network_registry.values():
            if network not in activated:
                try:
                    network.activate(p, [])
                except Exception as error:
                    self.printed.append(error)
        if p.scripts is not None:
            batch = {"batch_number": p.iteration, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
            p.scripts.after_extra_networks_activate(p, **batch, extra_network_data=extra_network_data)

    def deactivate(self, p: Any, extra_network_data: Data) -> None:
        named = self.lookup_extra_networks(extra_network_data)
        for network in [*named, *(each for each in self.extra_network_registry.values() if each not in named)]:
            try:
                network.deactivate(p)
            except Exception as error:
                self.printed.append(error)

    def parse_prompt(self, prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
        found: dict[str, list[ExtraNetworkParams]] = defaultdict(list)

        def take(match: re.Match[str]) -> str:
            found[match[1]].append(ExtraNetworkParams(items=match[2].split(":")))
            return ""

        return re.sub(r"<(\w+):([^>]+)>", take, prompt), found

    def parse_prompts(self, prompts: Sequence[str]) -> tuple[list[str], Any]:
        read = [self.parse_prompt(prompt) for prompt in prompts]
        return [text for text, _ in read], read[0][1] if read else None

    def module(self) -> ModuleType:
        """Return it as the host's module."""
        names = [name for name in dir(self) if not name.startswith("_") and name not in ("module", "printed")]
        content = {name: getattr(self, name) for name in names}
        return module(
            "modules.extra_networks", ExtraNetworkParams=ExtraNetworkParams, ExtraNetwork=ExtraNetwork, **content
        )
