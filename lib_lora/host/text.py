"""Captions to conditioning, in the layout of the WebUI: chunks of 75 tokens, each with its own start and end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from lib_lora.host.base import Conditioning
from lib_lora.host.chunks import chunked, in_batch_order, side_by_side, zero_padded


def chunk_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Return the token ids of ``captions``, ``(captions, chunks, 77)``, padded with the end token, as for SD1."""
    rows = [tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids for text in captions]
    return chunked(rows, start=tokenizer.bos_token_id, end=tokenizer.eos_token_id)


def encode(
    encoders: Sequence[nn.Module], tokenizer: CLIPTokenizer, captions: Sequence[str], *, family: str, clip_skip: int = 1
) -> Conditioning:
    """Return the conditioning of ``captions``.

    SD1 takes the hidden state ``clip_skip`` layers from the end and its final LayerNorm; SD2 likewise of the 23 layers
    that were loaded; SDXL takes the last but one of both encoders, and the second's pooled vector of the first chunk.
    OpenCLIP's encoders (SD2's, and SDXL's second) were trained with zeros behind the end token.
    """
    ids = chunk_ids(tokenizer, captions).to(next(encoders[0].parameters()).device)
    rows, chunks, _ = ids.shape
    flat = in_batch_order(ids)
    zeros = zero_padded(flat, tokenizer.eos_token_id)
    if family != "sdxl":
        hidden = _hidden(encoders[0], zeros if family == "sd2" else flat, skip=clip_skip)
        return Conditioning(side_by_side(hidden, chunks))
    first = encoders[0](flat, output_hidden_states=True).hidden_states[-2]
    second = encoders[1](zeros, output_hidden_states=True)
    tokens = torch.cat([first, second.hidden_states[-2]], dim=-1)
    # At the first end token: transformers looks for the one of CLIP's own word list, whatever list is in use.
    ends = (zeros[:rows] == tokenizer.eos_token_id).int().argmax(dim=-1)
    pooled = encoders[1].text_projection(second.last_hidden_state[torch.arange(rows, device=ends.device), ends])
    return Conditioning(side_by_side(tokens, chunks), pooled)


def _hidden(encoder: nn.Module, ids: Tensor, *, skip: int) -> Tensor:
    """Return the hidden state ``skip`` layers from the end, after the final LayerNorm."""
    if skip <= 1:
        return encoder(ids).last_hidden_state
    states = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    return inner.final_layer_norm(states[-skip])
