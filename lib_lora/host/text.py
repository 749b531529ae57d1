"""Captions to conditioning, in the layout of the WebUI: chunks of 75 tokens, each with its own start and end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from lib_lora.host.base import Conditioning

CHUNK = 75
"""Tokens of a caption that share one pass through the text encoder; with start and end it is 77 positions."""


def chunk_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Return the token ids of ``captions``, ``(captions, chunks, 77)``, padded with the end token."""
    rows = [tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids for text in captions]
    chunks = max(1, *(-(-len(row) // CHUNK) for row in rows))
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids = torch.full((len(rows), chunks, CHUNK + 2), end, dtype=torch.long)
    ids[:, :, 0] = start
    for row, tokens in enumerate(rows):
        for chunk in range(chunks):
            piece = tokens[chunk * CHUNK : (chunk + 1) * CHUNK]
            ids[row, chunk, 1 : 1 + len(piece)] = torch.tensor(piece, dtype=torch.long)
    return ids


def encode(
    encoders: Sequence[nn.Module], tokenizer: CLIPTokenizer, captions: Sequence[str], *, family: str, clip_skip: int = 1
) -> Conditioning:
    """Return the conditioning of ``captions``.

    SD1 takes the hidden state ``clip_skip`` layers from the end and its final LayerNorm; SD2 likewise of the 23 layers
    that were loaded; SDXL takes the last but one of both encoders, and the second's pooled vector of the first chunk.
    """
    ids = chunk_ids(tokenizer, captions).to(next(encoders[0].parameters()).device)
    rows, chunks, length = ids.shape
    # chunk by chunk in the batch's order: per-sample LoRA weights repeat over the batch, so samples must not interleave
    flat = ids.transpose(0, 1).reshape(chunks * rows, length)
    if family != "sdxl":
        hidden = _hidden(encoders[0], flat, skip=clip_skip)
        return Conditioning(_unflatten(hidden, chunks))
    first = encoders[0](flat, output_hidden_states=True).hidden_states[-2]
    # The second encoder was trained with zeros behind the end token.
    second = encoders[1](_zero_padded(flat, tokenizer.eos_token_id), output_hidden_states=True)
    tokens = torch.cat([first, second.hidden_states[-2]], dim=-1)
    return Conditioning(_unflatten(tokens, chunks), pooled=second.text_embeds[:rows])


def _hidden(encoder: nn.Module, ids: Tensor, *, skip: int) -> Tensor:
    """Return the hidden state ``skip`` layers from the end, after the final LayerNorm."""
    if skip <= 1:
        return encoder(ids).last_hidden_state
    states = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    return inner.final_layer_norm(states[-skip])


def _zero_padded(ids: Tensor, end: int) -> Tensor:
    """Return ids with 0 in place of every end token but the first of each row."""
    again = (ids == end).long().cumsum(dim=-1) > 1
    return ids.masked_fill(again, 0)


def _unflatten(hidden: Tensor, chunks: int) -> Tensor:
    """Return ``(chunks·n, 77, width)`` as ``(n, 77·chunks, width)``."""
    return torch.cat(hidden.chunk(chunks), dim=1)
