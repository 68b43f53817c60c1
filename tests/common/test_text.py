import pytest

from common.text import without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/models/secret/model.gguf could not be read", "model.gguf could not be read"),
        ("there is no file /srv/my models/x.gguf", "there is no file x.gguf"),
        ("[Errno 2] No such file: '/srv/a/b.onnx'", "[Errno 2] No such file: 'b.onnx'"),
        ('failed to open "/srv/a b/c.gguf": no such file', 'failed to open "c.gguf": no such file'),
        ("/one/x.gguf and /two/y.gguf differ", "x.gguf and y.gguf differ"),
        ("(/opt/x.gguf)", "(x.gguf)"),
        # What is no path of this machine stays.
        ("hf://owner/name/file.gguf is no file of the hub", "hf://owner/name/file.gguf is no file of the hub"),
        ("https://host/a/b answers HTTP 404", "https://host/a/b answers HTTP 404"),
        ("12 MB/s, and/or onnx/model.onnx", "12 MB/s, and/or onnx/model.onnx"),
        ("a / b", "a / b"),
        ("", ""),
    ],
)
def test_paths_are_told_without_their_folders(text: str, shown: str) -> None:
    assert without_folders(text) == shown
