"""Captions to conditioning with the host's text encoders: literal words, no emphasis, no textual inversion.

The host's own path parses emphasis, expands embeddings and may cut gradients; training wants the words as they are and
gradients through the encoders, so the token ids go straight into the encoder that the host wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.host.base import Conditioning
from lib_lora.host.clip_chunks import chunked, in_batch_order, side_by_side, zero_padded

Encode = Callable[[Tensor, int], tuple[Tensor, "Tensor | None"]]
"""Token ids ``(n, 77)`` and clip skip to hidden states ``(n, 77, width)`` and the pooled vector ``(n, width)``."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of the live model.

    Attributes:
        module: the network itself.
        layers: its layers by kohya name.
        tokenize: captions to token ids without specials.
        start, end, pad: ids of the specials; ``pad`` follows the first end.
        encode: one pass.
    """

    module: nn.Module
    layers: dict[str, nn.Module]
    tokenize: Callable[[Sequence[str]], list[list[int]]]
    start: int
    end: int
    pad: int
    encode: Encode


def conditioning(
    encoders: Sequence[TextEncoder], captions: Sequence[str], clip_skip: int, *, device: torch.device
) -> Conditioning:
    """Return the conditioning of ``captions``: the encoders' states side by side, the last pooled vector if any."""
    states, pooled = [], None
    for encoder in encoders:
        ids = chunked(encoder.tokenize(list(captions)), start=encoder.start, end=encoder.end)
        if encoder.pad != encoder.end:
            ids = zero_padded(ids, encoder.end, pad=encoder.pad)
        hidden, vector = encoder.encode(in_batch_order(ids).to(device), clip_skip)
        states.append(side_by_side(hidden, ids.shape[1]))
        pooled = vector[: len(captions)] if vector is not None else pooled
    return Conditioning(torch.cat(states, dim=-1) if len(states) > 1 else states[0], pooled)


def clip_pass(transformer: nn.Module, *, layer: int | None, forget: Callable[[], None]) -> Encode:
    """Return the pass of a CLIP text model of transformers.

    Args:
        layer: the hidden state that is taken as it is (SDXL's first encoder); None takes the one ``clip_skip`` from
            the end, through the final LayerNorm.
        forget: drops the embeddings that the host's last prompt wanted put in.
    """

    def encode(ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        forget()
        out = transformer(input_ids=ids, output_hidden_states=True)
        if layer is not None:
            return out.hidden_states[layer], None
        if clip_skip <= 1:
            return out.last_hidden_state, None
        return transformer.text_model.final_layer_norm(out.hidden_states[-clip_skip]), None

    return encode


def open_clip_pass(wrapped: Any, *, forget: Callable[[], None]) -> Encode:
    """Return the pass of an OpenCLIP embedder; it takes the layer that the model was built for, as the host does."""

    def encode(ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        forget()
        out = wrapped.encode_with_transformer(ids)
        return (out[wrapped.layer], out.get("pooled")) if isinstance(out, dict) else (out, None)

    return encode
