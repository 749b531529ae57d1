"""What a module's tensors are called in a form, and which changes a form can hold."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.forms import ALPHA_FOLDED, Form
from lib_lora.sentences import say

_PEFT_NAMES: Mapping[str, str] = {
    "lora_down.weight": "lora_A.weight",
    "lora_up.weight": "lora_B.weight",
    "dora_scale": "lora_magnitude_vector",
    "diff_b": "lora_B.bias",
}
_SIDES = ("lora_down.weight", "lora_up.weight")
_CORE = "lora_mid.weight"


def held(adapter: Adapter, form: Form) -> Adapter:
    """Return the change as a form holds it.

    Raises:
        InputError: it cannot; what does is told.
    """
    if form.peft:
        found = adapter.as_peft(folded=form.alpha == ALPHA_FOLDED)
        if found is None:
            raise _refused_by_peft(adapter, form)
        return found
    if form.dotted and not adapter.in_comfyui:
        what = say("The form {form} cannot hold a {kind}", kind=adapter.title, form=form.name)
        raise InputError(what, where=adapter.key, cure="Choose one of kohya's forms.")
    return adapter


def _refused_by_peft(adapter: Adapter, form: Form) -> InputError:
    what = say("The form {form} cannot hold a {kind}", kind=adapter.title, form=form.name)
    if adapter.kind == "dora":
        what = say("The form {form} cannot hold a DoRA with a length for each input", form=form.name)
    if adapter.in_comfyui:
        return InputError(what, where=adapter.key, cure="Choose kohya's form or ComfyUI's.")
    return InputError(what, where=adapter.key, cure="Choose one of kohya's forms.")


def renamed(adapter: Adapter, parts: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    """Return a module's tensors by the form's names of parts.

    Args:
        adapter: what the parts are of, as `held` gives it.
        parts: by kohya's names.
        form: the form.
    """
    if form.peft:
        return {_PEFT_NAMES[name]: _as_peft(adapter, name, part) for name, part in parts.items() if name != "alpha"}
    if not form.dotted or _CORE in parts:  # ComfyUI looks for a core only beside kohya's own names
        return dict(parts)
    return {_PEFT_NAMES[name] if name in _SIDES else name: part for name, part in parts.items()}


def _as_peft(adapter: Adapter, name: str, tensor: Tensor) -> Tensor:
    """Return a part in PEFT's shape: lengths flat, of a convolution along its second side; a bias before its scale."""
    if name == "dora_scale":
        return tensor.reshape(1, -1, 1, 1) if len(adapter.shape) == 4 else tensor.flatten()
    weight = adapter.weight_part
    if name != "diff_b" or weight is None or weight.scale() == 1:
        return tensor
    return (tensor.double() / weight.scale()).to(tensor.dtype)
