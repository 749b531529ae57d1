"""What text encoders make of captions, kept on the disk: of those captions that are the same at every draw."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from lib_lora.data.files import file_digest
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.sentences import Sentence, say
from lib_lora.train.captions import layout_of
from lib_lora.train.kept_encodings import KeptEncodings, key_of, weights_digest
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.network import split_strength
from lib_lora.train.training_set import Sample

FOLDER = ".captions"
"""Beside the runs and their latents, shared by all of them."""
VERSION = 1
"""Of how captions are encoded here; a new one makes all that is kept useless."""


class CaptionCache(KeptEncodings):
    """Conditioning of captions, one file each, found by the text, its tokens and all that encodes them."""

    def __init__(
        self,
        folder: Path,
        model: LoadedModel,
        options: TrainOptions,
        captions: Iterable[str],
        said: Callable[..., None],
    ) -> None:
        """Keep ``captions`` and no others; ``options`` name the LoRAs that lie under the training where they are now.

        ``said`` is called with a remark on files that were damaged.
        """
        super().__init__(folder)
        self._model, self._options, self._said = model, options, said
        self._captions = frozenset(captions)

    def find(self, caption: str) -> Conditioning | None:
        """Return what is kept of a caption."""
        before = self.damaged
        kept = self.get(self._key(caption)) if caption in self._captions else None
        if self.damaged > before:
            self._said(self.remark, about=FOLDER)
        return None if kept is None else Conditioning(kept[0], kept[1] if len(kept) > 1 else None)

    def keep(self, caption: str, made: Conditioning) -> None:
        """Keep what was made of a caption, if it is one of those that come again."""
        if caption in self._captions:
            self.put(self._key(caption), [part for part in (made.tokens, made.pooled) if part is not None])

    def _key(self, caption: str) -> str:
        # Where a chunk ends is a setting of a WebUI's, and a tokenizer can be given: what is encoded are the ids.
        ids = self._model.caption_ids(caption, layout_of(self._options))
        return key_of(VERSION, caption, ids, self._made_by)

    @cached_property
    def _made_by(self) -> tuple:
        """Everything besides the caption; read once, for it reads all weights of the text encoders."""
        model, options = self._model, self._options
        under = [(file_digest(Path(path)), strength) for path, strength in map(split_strength, options.base_loras)]
        computed = (model.family, str(model.dtype), model.device.type, options.precision)
        read = (options.clip_skip, layout_of(options))
        return (*computed, *read, tuple(under), weights_digest(model.networks[1:]))


def lasting(samples: Sequence[Sample]) -> set[str]:
    """Return the captions that are the same at every draw, and those of measurements."""
    found = {"", *(item.caption for item in samples)}
    for item in samples:
        if not item.rules.varies:
            found.add(replace(item.rules, dropout=0.0, dropout_every_epochs=0).apply(item.caption, random.Random(0)))
    return found


def caption_remarks(samples: Sequence[Sample], *, trains_text: bool) -> tuple[Sentence, ...]:
    """Return which captions are encoded again and again though encodings are kept."""
    if trains_text:
        return (say("captions are encoded in every step, because the text encoder learns: only pictures are kept"),)
    changing = sum(item.rules.varies for item in samples)
    if not changing:
        return ()
    return (
        say(
            "{n} {n:caption changes|captions change} from draw to draw (shuffled, tags left out, choices): "
            "{n:its|their} encodings are not kept on the disk",
            n=changing,
        ),
    )
