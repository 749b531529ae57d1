"""Find the CLIP tokenizer: beside the model, in an installed package, or in the local cache."""

from __future__ import annotations

import gzip
import importlib.util
import json
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

from lib_lora.errors import InputError
from lib_lora.sentences import say

START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_NAME = "openai/clip-vit-large-patch14"
CLIP_TOKENS = 49408


def find_tokenizer(folder: Path | None, *, family: str) -> CLIPTokenizer:
    """Return the tokenizer of ``folder``, else CLIP's own from an installed package or the local cache.

    Raises:
        InputError: it is nowhere on this machine.
    """
    if folder is not None:
        if not (folder / "vocab.json").is_file():
            raise InputError(
                "This folder holds no tokenizer", where=str(folder), cure="It needs vocab.json and merges.txt."
            )
        return CLIPTokenizer.from_pretrained(folder)
    listed = _open_clip_list()
    if listed is not None:
        return _from_list(listed)
    cached = _from_cache()
    if cached is None:
        raise InputError(
            "The word list of CLIP, which every {family} model needs, is not on this machine",
            family=family,
            where=say("tokenizer"),
            cure="Install the package open-clip-torch, or give a tokenizer: a folder with vocab.json and merges.txt.",
            option="tokenizer",
        )
    return cached


def _from_cache() -> CLIPTokenizer | None:
    """Return CLIP's tokenizer from the local hub cache; some versions make an empty one where there is none."""
    try:
        found = CLIPTokenizer.from_pretrained(CLIP_NAME, local_files_only=True)
    except OSError:
        return None
    return found if len(found) == CLIP_TOKENS else None


def _open_clip_list() -> Path | None:
    """Return the BPE list that the package open_clip ships, without importing that package."""
    spec = importlib.util.find_spec("open_clip")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    return None


def _from_list(path: Path) -> CLIPTokenizer:
    """Build CLIP's tokenizer (49,408 tokens) from its list of byte-pair merges."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = _byte_letters()
    words = letters + [letter + "</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges] + [START, END]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, pairs = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: n for n, word in enumerate(words)}), encoding="utf-8")
        pairs.write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END, "model_max_length": 77}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder)


def _byte_letters() -> list[str]:
    """Return the printable stand-ins of the 256 bytes in GPT-2's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]
