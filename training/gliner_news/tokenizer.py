"""The tokenizer: the encoder's own word pieces, each of them in three cases.

The encoder was trained on small letters, but capitals say most about names. So a mark in front of a word tells its
case, and is part of its first piece: `Paris` is the one piece `⇧paris`, `NATO` is `⇪nato`. The token of a marked piece
is that of the plain one plus one or two times the size of the vocabulary; `model.CasedEmbedding` adds a learned vector
for each case. All of it lives in tokenizer.json, as ordinary normalizers and entries.
"""

import json
import string
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

ENT, SEP = "<<ENT>>", "<<SEP>>"
CAPITAL, CAPITALS = "⇧⇪"
CASES = 3
# Letters that do not decompose to a base letter and an accent, and typographic marks.
PLAIN = tuple(zip("łŁøØđĐıəƏðÐħĦŧŦ’‘“”„«»–—", 'lLoOdDieEdDhHtT\'\'"""""--', strict=True))
PLAIN += (("ß", "ss"), ("æ", "ae"), ("Æ", "AE"), ("œ", "oe"), ("Œ", "OE"), ("þ", "th"), ("Þ", "Th"))


def cased(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the uncased BERT in `folder`, with cases and with GLiNER's two markers.

    The markers take the places of two tokens that the encoder does not use.
    """
    raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = raw["model"]["vocab"]
    size = len(vocabulary)
    for marker, place in ((ENT, "[unused0]"), (SEP, "[unused1]")):
        vocabulary[marker] = vocabulary.pop(place)
    letters = set(string.ascii_lowercase)
    for piece, token in list(vocabulary.items()):
        if piece[0] in letters:
            vocabulary[CAPITAL + piece] = size + token
            vocabulary[CAPITALS + piece] = 2 * size + token
    raw["normalizer"] = {"type": "Sequence", "normalizers": list(_normalizers())}
    raw["padding"] = raw["truncation"] = None
    raw["added_tokens"] += [
        {**raw["added_tokens"][0], "content": marker, "id": vocabulary[marker]} for marker in (ENT, SEP)
    ]
    raw["added_tokens"].sort(key=lambda token: token["id"])
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def _normalizers() -> list[dict[str, Any]]:
    def replace(content: str, **pattern: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    return [
        *[replace(new, String=old) for old, new in PLAIN],
        {"type": "NFKD"},
        {"type": "StripAccents"},
        *[replace(CAPITAL + letter.lower(), String=letter) for letter in string.ascii_uppercase],
        replace(CAPITALS, Regex=f"{CAPITAL}(?=[a-z]{CAPITAL})"),
        # One mark a word, in front of it.
        replace("", Regex=f"(?<=[a-z0-9])[{CAPITAL}{CAPITALS}]"),
        {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": True,
            "lowercase": True,
        },
    ]
