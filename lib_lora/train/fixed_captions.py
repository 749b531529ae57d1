"""Captions to conditioning while training: what cannot change is encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.host.caption_layout import AS_WRITTEN, CaptionLayout

LIMIT = 256 * 2**20
"""Bytes of encodings that are kept in main memory; a caption of 75 tokens takes 0.24 MB for SD1, 0.6 MB for SDXL."""


class OnDisk(Protocol):
    """Where encodings lie that a later run uses, too."""

    def find(self, caption: str) -> Conditioning | None:
        """Return what is kept of a caption."""
        ...

    def keep(self, caption: str, made: Conditioning) -> None:
        """Keep what was made of a caption."""
        ...


class FixedCaptions:
    """Encodings of captions by text encoders that do not change, each caption encoded by itself and once.

    By itself, so that the result depends on the caption alone and never on which captions happen to be kept: a resumed
    run goes on bit for bit. In the run's precision, whoever asks first: a step, or a measurement before it.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        clip_skip: int,
        layout: CaptionLayout = AS_WRITTEN,
        limit: int = LIMIT,
        computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._computing = computing
        self._model, self._clip_skip, self._layout, self._limit = model, clip_skip, layout, limit
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()
        self._bytes = 0
        self.on_disk: OnDisk | None = None

    def encode(self, captions: Sequence[str]) -> Conditioning:
        """Return the conditioning of ``captions``, without gradients; shorter ones are padded with empty chunks."""
        found = [self._one(caption) for caption in captions]
        length = max(one.tokens.shape[1] for one in found)
        tokens = torch.cat([self._padded(one.tokens, length) for one in found]).to(self._model.device)
        pooled = [one.pooled for one in found if one.pooled is not None]
        return Conditioning(tokens, torch.cat(pooled).to(self._model.device) if pooled else None)

    def _one(self, caption: str) -> Conditioning:
        known = self._kept.get(caption)
        if known is not None:
            self._kept.move_to_end(caption)
            return known
        kept = None if self.on_disk is None else self.on_disk.find(caption)
        if kept is None:
            with torch.no_grad(), self._computing():
                made = self._model.encode_text([caption], self._clip_skip, self._layout)
            kept = Conditioning(made.tokens.cpu(), None if made.pooled is None else made.pooled.cpu())
            if self.on_disk is not None:
                self.on_disk.keep(caption, kept)
        self._kept[caption] = kept
        self._bytes += _size(kept)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return kept

    def _padded(self, tokens: Tensor, length: int) -> Tensor:
        """Return ``tokens`` (1, n, width) as long as the longest of its batch, as the encoder itself would pad it."""
        missing = length - tokens.shape[1]
        if not missing:
            return tokens
        empty = self._one("").tokens
        return torch.cat([tokens, *[empty] * (missing // empty.shape[1])], dim=1)


def _size(cond: Conditioning) -> int:
    return sum(part.numel() * part.element_size() for part in (cond.tokens, cond.pooled) if part is not None)
