"""The tokenizer: BPE over lower-cased, accent-free text with explicit marks for capitals.

The word `Paris` becomes `▁⇧ paris` and `NATO` becomes `▁⇪ nato`: the first sub-token, which GLiNER pools, is the shape
of the word, and cased and uncased forms share their pieces. All of it lives in tokenizer.json, as ordinary normalizers.
"""

import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
ENT, SEP = "<<ENT>>", "<<SEP>>"
# Letters that do not decompose to a base letter and an accent, and typographic marks.
PLAIN = tuple(zip("łŁøØđĐıəƏð’‘“”„«»–—", 'lLoOdDieEd\'\'"""""--', strict=True))
PLAIN += (("ß", "ss"), ("æ", "ae"), ("Æ", "AE"), ("œ", "oe"), ("þ", "th"))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train on word-split texts; `vocab_size` includes the special tokens and GLiNER's two markers."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *[normalizers.Replace(old, new) for old, new in PLAIN],
            normalizers.NFKD(),
            normalizers.StripAccents(),
            *[normalizers.Replace(letter, "⇧" + letter.lower()) for letter in string.ascii_uppercase],
            normalizers.Replace(Regex("⇧(?=[a-z]⇧)"), "⇪"),
            normalizers.Replace(Regex("(?<=[⇧⇪][a-z])[⇧⇪]"), ""),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Split(Regex("▁?[⇧⇪]"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    alphabet = list("▁⇧⇪" + string.ascii_lowercase + string.digits + string.punctuation + "€£¥₹…")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=alphabet,
        limit_alphabet=100,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    wrapped.add_tokens([ENT, SEP], special_tokens=True)
    return wrapped
