"""What a fake AUTOMATIC1111 needs beyond pictures, so that its model can be lent to a training."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from lib_lora.host.webui.session.restore import attributes_kept
from tests.webui.fakes.put import module, placed

SCALE = 8
LATENT = 4


class Autoencoder(nn.Module):
    """A VAE that shrinks eight times; ``overflow`` makes its 16-bit passes overflow, as SDXL's do."""

    def __init__(self, *, overflow: bool = False) -> None:
        super().__init__()
        self.scaling_factor = 0.18215
        self.encoder, self.decoder = nn.Sequential(), nn.Sequential()
        self.encoder.append(nn.Conv2d(3, 2 * LATENT, SCALE, stride=SCALE))
        self.decoder.append(nn.ConvTranspose2d(LATENT, 3, SCALE, stride=SCALE))
        self.encoder.num_resolutions = 4
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * LATENT, 2 * LATENT, 1), nn.Conv2d(LATENT, LATENT, 1)
        if overflow:
            self.quant_conv.register_forward_hook(
                lambda layer, inputs, output: output * torch.inf if output.dtype is torch.bfloat16 else output
            )


class Attention:
    """A class whose ``forward`` the host replaces for all its objects."""

    def forward(self) -> str:
        """Say which one it is."""
        return "the host's"


class Sdp:
    """The host's option for PyTorch's own attention."""

    name = "sdp"

    def __init__(self, *users: type) -> None:
        self.users = users

    def apply(self) -> None:
        """Replace the classes' forward."""
        for user in self.users:
            user.forward = lambda self: "PyTorch's"


class Hijack(SimpleNamespace):
    """`sd_hijack.model_hijack`, with the tiling that the last picture had."""

    circular_enabled = True

    def apply_circular(self, enable: bool) -> None:
        """Switch tiling."""
        self.circular_enabled = enable


@contextlib.contextmanager
def ready_for_training(host: Any, **of_model: Any) -> Iterator[SimpleNamespace]:
    """Place the modules of the host that lending speaks to; what is asked for in ``of_model`` becomes the model's."""
    users = [type(name, (Attention,), {"forward": Attention.forward}) for name in ("ldm", "sgm", "ldm_vae", "sgm_vae")]
    hijack = Hijack(comments=[], extra_generation_params={}, embedding_db=None)
    loaded: list[Any] = []
    unets = module("modules.sd_unet", current_unet=None)
    hyper = module("modules.hypernetworks.hypernetwork", load_hypernetworks=lambda names: loaded.clear())
    content = {
        "modules.sd_hijack": module("modules.sd_hijack", model_hijack=hijack, optimizers=[Sdp(*users)]),
        "modules.sd_unet": unets,
        "modules.hypernetworks": module("modules.hypernetworks", hypernetwork=hyper),
        "modules.hypernetworks.hypernetwork": hyper,
    }
    for family, (cross, vae) in {"ldm": (users[0], users[2]), "sgm": (users[1], users[3])}.items():
        for name in ("", ".modules", ".modules.diffusionmodules"):
            content[family + name] = module(family + name)
        content[f"{family}.modules.attention"] = module(f"{family}.modules.attention", CrossAttention=cross)
        inner = f"{family}.modules.diffusionmodules.model"
        content[inner] = module(inner, AttnBlock=vae)
    model = host.sd_model
    model.first_stage_model = Autoencoder().requires_grad_(False)
    for name, value in of_model.items():
        setattr(model, name, value)
    shared, package = host.modules.shared, sys.modules["modules"]
    names = ("sd_hijack", "sd_unet", "hypernetworks")
    with placed(content), attributes_kept(*[(package, name) for name in names]):
        for name in names:
            setattr(package, name, content[f"modules.{name}"])
        shared.loaded_hypernetworks = loaded
        yield SimpleNamespace(users=users, hijack=hijack, unets=unets, hypernetworks=loaded, model=model)


def trace(model: nn.Module) -> dict[str, Any]:
    """Return everything of a model that a lending must put back: bytes, flags, modes, hooks, overridden methods."""
    found: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[name] = (bytes(tensor.detach().numpy().tobytes()), tensor.requires_grad, tensor.grad, id(tensor))
    for name, part in model.named_modules():
        hooks = len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks)
        found[f"{name}()"] = (part.training, hooks, "forward" in vars(part), vars(part).get("checkpoint"))
    return found
