"""Build the pocket model's own CLIP-BPE tokenizer from its captions and the tags that people write.

python tools/pocket/build_tokenizer.py --out WORK/tokenizer
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pictures import BACKGROUNDS, all_scenes
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

START, END = "<|startoftext|>", "<|endoftext|>"
TAGS = """simple background, from horizontal, from above, from below, from front, from side, from behind, upper body,
full body, standing, straight standing, looking at viewer, looking away, smile, open mouth, blush, closed eyes, solo,
1girl, 1boy, girl, boy, character, style, object, short hair, long hair, blue hair, brown hair, black hair, hat, dress,
scarf, glasses, ears, tail, night, day, outdoors, indoors, snow, rain, flower, tree, sky, sea, a photo of, a picture of,
masterpiece, best quality, worst quality, low quality, wearing, holding, with, and, in, of, the, an, two, three"""
MERGES = 900


def train_merges() -> list[tuple[str, str]]:
    """Return the byte-pair merges, most useful first."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, end_of_word_suffix="</w>", show_progress=False)
    captions = [scene.caption for scene in all_scenes()]
    tokenizer.train_from_iterator(captions + [TAGS] * 400 + list(BACKGROUNDS), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


def write(folder: Path) -> int:
    """Write the tokenizer files in CLIP's format and return the size of the vocabulary."""
    merges = train_merges()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # CLIP's order: every byte, every byte that ends a word, the merges, start, end. So any text has tokens.
    words = letters + [letter + "</w>" for letter in letters]
    words += [word for word in dict.fromkeys(a + b for a, b in merges) if word not in set(words)]
    words += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    settings = special | {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    return len(words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    print(write(parser.parse_args().out), "tokens")
