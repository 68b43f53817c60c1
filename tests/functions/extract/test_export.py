"""What `python -m functions.extract.export` makes of a checkpoint, whose package is played by a double."""

import json
import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC, Lowercase

from functions.extract.export import FILES, export, find_tokenizer

PROMPT = ["[FLERT]", "<<ENT>>", "<<SEP>>"]


def tokenizer(words: list[str], added: list[str]) -> Tokenizer:
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, words[0]))
    made.normalizer = NFKC()
    made.add_tokens(added)
    return made


class Exporter:
    """Stands for a model of the package: it writes a tokenizer with another normalizer, as transformers 5 does."""

    def __init__(self, leaves_out: str = "") -> None:
        self._leaves_out = leaves_out

    def eval(self) -> None:
        """It is never trained."""

    def export_to_onnx(self, folder: Path) -> None:
        other = tokenizer(["word", "other"], PROMPT)
        other.normalizer = Lowercase()
        other.save(str(folder / "tokenizer.json"))
        (folder / "model.onnx").touch()
        (folder / "gliner_config.json").write_text(json.dumps({"ent_token": "<<ENT>>", "sep_token": "<<SEP>>"}))
        (folder / self._leaves_out).unlink() if self._leaves_out else None


def test_the_checkpoints_own_tokenizer_is_kept_to_the_byte(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    tokenizer(["word", "other"], PROMPT).save(str(own), pretty=False)
    export(Exporter(), tmp_path / "out", own)
    assert (tmp_path / "out/tokenizer.json").read_bytes() == own.read_bytes()


def test_tokens_of_the_prompt_that_it_lacks_are_added(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    tokenizer(["word", "other"], []).save(str(own))
    export(Exporter(), tmp_path / "out", own)
    kept = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    assert isinstance(kept.normalizer, NFKC)
    assert [kept.token_to_id(token) for token in PROMPT] == [2, 3, 4]


def test_a_tokenizer_with_other_numbers_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = tmp_path / "own.json"
    tokenizer(["word", "other", "third"], PROMPT).save(str(own))
    caplog.set_level(logging.WARNING)
    export(Exporter(), tmp_path / "out", own)
    assert isinstance(Tokenizer.from_file(str(tmp_path / "out/tokenizer.json")).normalizer, Lowercase)
    assert caplog.messages == [f"{own} numbers other tokens than the model: the exporter's is kept"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_exporter_leaves_out_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"wrote no {name}"):
        export(Exporter(name), tmp_path / "out")


def test_the_tokenizer_that_the_package_reads_is_found(tmp_path: Path) -> None:
    checkpoint, base = tmp_path / "checkpoint", tmp_path / "base"
    for folder in (checkpoint, base):
        folder.mkdir()
        (folder / "tokenizer.json").touch()
    assert find_tokenizer(str(checkpoint), str(base)) == base / "tokenizer.json"
    (checkpoint / "tokenizer_config.json").touch()
    assert find_tokenizer(str(checkpoint), str(base)) == checkpoint / "tokenizer.json"
    (checkpoint / "tokenizer.json").unlink()
    assert find_tokenizer(str(checkpoint), str(base)) is None
    assert find_tokenizer("no repository/of/the hub", "nobody/nothing") is None
