"""A vocabulary without a model, read by llama.cpp: SentencePiece's kind, as Mistral's and Phi-3's files have it."""

import struct
from collections.abc import Sequence
from pathlib import Path

from functions.summarize import context
from functions.summarize.context import LlamaContext

# gguf.md: the types of a value; gguf-py, TokenType.
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
BOS, EOS = 1, 2

Value = tuple[int, bytes]


class Vocabulary(LlamaContext):
    """What a prompt asks of a context, of a file that holds a vocabulary only."""

    def __init__(self, path: Path, template: str) -> None:
        self._c = context._library()
        params = self._c.llama_model_default_params()
        params.vocab_only = True
        self._model = self._c.llama_model_load_from_file(str(path).encode(), params)
        assert self._model is not None
        self._vocab = self._c.llama_model_get_vocab(self._model)
        self._pieces = {}
        self._template = template

    @property
    def chat_template(self) -> str:
        return self._template

    def whole(self, text: str) -> list[int]:
        """The tokens of a whole prompt, as llama.cpp reads it when it is one text."""
        tokens = self.tokenize(text, True)
        return tokens if tokens[:1] == [self.bos] or not self.adds_bos else [self.bos, *tokens]


def sentence_pieces(path: Path, markers: dict[str, int]) -> Path:
    """Write a vocabulary of bytes, letters and a few pieces, and of `markers` with their types."""
    special = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, **markers}
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:<>|/[]_"
    pieces = [f"▁{letter}" for letter in letters] + ["th", "he", "▁the", "er", "in", "▁▁▁▁"]
    texts = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *letters]
    kinds = [*special.values(), *[BYTE] * 256, *[NORMAL] * (len(pieces) + len(letters))]
    scores = [-float(index) for index in range(len(texts))]
    values: dict[str, Value] = {
        "general.architecture": (STRING, _string("llama")),
        "tokenizer.ggml.model": (STRING, _string("llama")),
        "tokenizer.ggml.tokens": _array(STRING, [_string(text) for text in texts]),
        "tokenizer.ggml.scores": _array(FLOAT32, [struct.pack("<f", score) for score in scores]),
        "tokenizer.ggml.token_type": _array(INT32, [struct.pack("<i", kind) for kind in kinds]),
        "tokenizer.ggml.bos_token_id": (UINT32, struct.pack("<I", BOS)),
        "tokenizer.ggml.eos_token_id": (UINT32, struct.pack("<I", EOS)),
        "tokenizer.ggml.unknown_token_id": (UINT32, struct.pack("<I", 0)),
    }
    entries = (_string(name) + struct.pack("<I", kind) + data for name, (kind, data) in values.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(entries))
    return path


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _array(kind: int, items: Sequence[bytes]) -> Value:
    return ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items)
