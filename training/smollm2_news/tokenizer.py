"""The tokenizer that is in the GGUF, as `tokenizers` has it: llama.cpp's pre-tokenizer `smollm`."""

from pathlib import Path

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

CONTROL = 3


def read(path: Path) -> Tokenizer:
    """Its control tokens are read as such in any text: an article is to be encoded with none of them in it."""
    fields = GGUFReader(path).fields
    words, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
    vocabulary = {word: k for k, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocabulary, [tuple(pair.split(" ", 1)) for pair in merges]))
    tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = ByteLevelDecoder()
    controls = [word for word, kind in zip(words, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in controls])
    return tokenizer
