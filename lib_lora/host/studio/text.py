"""Captions and prompts to conditioning, in the layout of the WebUI: chunks of 75 tokens, each with its start and end.

A caption is taken as it is written, unless its weights are wanted; a prompt has emphasis and ``BREAK``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from lib_lora.architectures.registry import architecture_of
from lib_lora.host.base import Conditioning
from lib_lora.host.caption_layout import AS_WRITTEN, CaptionLayout, CaptionTokens, laid_out, weighed
from lib_lora.host.clip_chunks import in_batch_order, side_by_side, weighted_ids, wrapped, zero_padded
from lib_lora.host.prompt.emphasis import read_emphasis

_COMMA = ",</w>"

Change = Callable[[Tensor], Tensor]
"""What is done to the hidden states ``(chunks·rows, 77, width)`` of an encoder."""


def caption_tokens(tokenizer: CLIPTokenizer, captions: Sequence[str], layout: CaptionLayout) -> CaptionTokens:
    """Return the tokens of each caption, without start and end.

    Raises:
        PromptError: weights are read, and one is no number.
    """
    return laid_out(captions, lambda texts: [_tokens(tokenizer, text) for text in texts], layout)


def prompt_ids(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return ids and weights of ``prompts``, each ``(prompts, chunks, 77)``.

    Raises:
        PromptError: a weight is no number.
    """
    comma = tokenizer.convert_tokens_to_ids(_COMMA)
    rows = []
    for text in prompts:
        pieces = read_emphasis(text)
        tokens = (None if piece.breaks else (_tokens(tokenizer, piece.text), piece.weight) for piece in pieces)
        rows.append(wrapped(tokens, comma=comma))
    return weighted_ids(rows, start=tokenizer.bos_token_id, end=tokenizer.eos_token_id)


def encode(
    encoders: Sequence[nn.Module],
    tokenizer: CLIPTokenizer,
    captions: Sequence[str],
    *,
    family: str,
    clip_skip: int = 1,
    layout: CaptionLayout = AS_WRITTEN,
) -> Conditioning:
    """Return the conditioning of ``captions``, word for word or with weights.

    SD1 takes the hidden state ``clip_skip`` layers from the end and its final LayerNorm; SD2 likewise of the 23 layers
    that were loaded; SDXL takes the last but one of both encoders, and the second's pooled vector of the first chunk.
    OpenCLIP's encoders (SD2's, and SDXL's second) were trained with zeros behind the end token.
    """
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids, weights = caption_tokens(tokenizer, captions, layout).ids(start=start, end=end)
    return _encode(encoders, ids, end, family, clip_skip, change=lambda hidden: weighed(hidden, weights))


def encode_prompts(
    encoders: Sequence[nn.Module],
    tokenizer: CLIPTokenizer,
    prompts: Sequence[str],
    *,
    counts: Sequence[int],
    family: str,
    clip_skip: int = 1,
    copies: int = 1,
) -> list[Conditioning]:
    """Return the conditioning of each text that one prompt has in the course of its picture, ``copies`` rows each.

    Args:
        encoders: one, or SDXL's two.
        tokenizer: of both.
        prompts: the texts; the shorter ones get empty chunks, so that all are of one length.
        counts: how often each comes in the prompt's schedule: emphasis keeps the mean of all of them together.
        family: of the model.
        clip_skip: as in `encode`.
        copies: rows of each text, for per-sample LoRA weights in the text encoder.

    Raises:
        PromptError: a weight is no number.
    """
    ids, weights = prompt_ids(tokenizer, prompts)
    emphasis = None
    if not torch.all(weights == 1):
        share = torch.tensor(counts, dtype=torch.float64) / sum(counts)

        def emphasis(hidden: Tensor) -> Tensor:
            return emphasized(hidden, weights, share, copies)

    rows = ids.repeat_interleave(copies, dim=0)
    made = _encode(encoders, rows, tokenizer.eos_token_id, family, clip_skip, change=emphasis)
    pooled = [None] * len(prompts) if made.pooled is None else made.pooled.split(copies)
    return [Conditioning(*each) for each in zip(made.tokens.split(copies), pooled, strict=True)]


def emphasized(hidden: Tensor, weights: Tensor, share: Tensor, copies: int) -> Tensor:
    """Return hidden states times the weight of their token, with the mean that they had (the WebUI's “Original”).

    Args:
        hidden: ``(chunks·prompts·copies, 77, width)``.
        weights: ``(prompts, chunks, 77)``.
        share: how much each prompt counts in the mean, ``(prompts,)``.
        copies: rows of each prompt; each has a mean of its own.
    """
    prompts, chunks, length = weights.shape
    states = hidden.reshape(chunks, prompts, copies, length, -1)
    factor = weights.transpose(0, 1).reshape(chunks, prompts, 1, length, 1).to(states)
    changed = states * factor
    part = share.to(states).reshape(1, prompts, 1, 1, 1)

    def mean(values: Tensor) -> Tensor:
        return (values.mean(dim=(3, 4), keepdim=True) * part).sum(dim=1, keepdim=True)

    return (changed * (mean(states) / mean(changed))).reshape(hidden.shape)


def _tokens(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids


def _encode(
    encoders: Sequence[nn.Module], ids: Tensor, end: int, family: str, clip_skip: int, *, change: Change | None = None
) -> Conditioning:
    """Return the conditioning of token ids ``(rows, chunks, 77)``."""
    rows, chunks, _ = ids.shape
    change = change or (lambda hidden: hidden)
    flat = in_batch_order(ids.to(next(encoders[0].parameters()).device))
    zeros = zero_padded(flat, end)
    known = architecture_of(family)
    if not known.pooled:
        hidden = _hidden(encoders[0], zeros if known.text_encoders[0].open_clip else flat, skip=clip_skip)
        return Conditioning(side_by_side(change(hidden), chunks))
    first = encoders[0](flat, output_hidden_states=True).hidden_states[-2]
    second = encoders[1](zeros, output_hidden_states=True)
    tokens = torch.cat([change(first), change(second.hidden_states[-2])], dim=-1)
    # At the first end token: transformers looks for the one of CLIP's own word list, whatever list is in use.
    ends = (zeros[:rows] == end).int().argmax(dim=-1)
    pooled = encoders[1].text_projection(second.last_hidden_state[torch.arange(rows, device=ends.device), ends])
    return Conditioning(side_by_side(tokens, chunks), pooled)


def _hidden(encoder: nn.Module, ids: Tensor, *, skip: int) -> Tensor:
    """Return the hidden state ``skip`` layers from the end, after the final LayerNorm."""
    if skip <= 1:
        return encoder(ids).last_hidden_state
    states = encoder(ids, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    return inner.final_layer_norm(states[-skip])
