"""Chat templates are programs of whoever made the file: good ones are read as transformers does, others are refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from common import lazy
from common.errors import ModelLoadFailed
from common.lazy import LazyModel
from common.settings import ROOT
from functions.summarize import template
from functions.summarize.template import Frame, frame
from tests.conftest import wait_until

INSTRUCTION = "Summarize what you read."
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
LOOP = "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}{% endfor %}<assistant>"


def read(text: str) -> Frame:
    return frame(text, INSTRUCTION, TOKENS)


@pytest.mark.parametrize(
    ("text", "opening", "closing"),
    [
        # Blocks on lines of their own leave nothing behind; what they trim is not the article.
        (
            "{{ bos_token }}\n{%- for m in messages %}\n  {% if true %}\n{{ m.role + ': ' + m.content | trim }}\n"
            "  {% endif %}\n{%- endfor %}\n{% if add_generation_prompt %}\nassistant:{% endif %}",
            f"<s>system: {INSTRUCTION}\nuser: ",
            "\nassistant:",
        ),
        (LOOP, f"<system>{INSTRUCTION}</s><user>", "</s><assistant>"),
        # What trainers and tool users put into templates.
        ("{% generation %}" + LOOP + "{% endgeneration %}", f"<system>{INSTRUCTION}</s><user>", "</s><assistant>"),
        ("{% for m in messages %}{{ m.content }}|{% if loop.last %}{% break %}{% endif %}{% endfor %}", None, "|"),
        ("{{ {'<é>': 1} | tojson }}{{ messages[0].content }}\n{{ messages[1].content | tojson }}", None, '"'),
        ("{% if tools %}{{ tools[0] }}{% endif %}{{ messages[0].content }}:{{ messages[1].content }}", None, ""),
        ("{{ strftime_now('%%') }}{{ messages[0].content }}{{ messages[1].content }}", f"%{INSTRUCTION}", ""),
        # Without a system's message the instruction is the user's: one template refuses it, another drops it.
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + LOOP,
            f"<user>{INSTRUCTION}\n\n",
            "</s><assistant>",
        ),
        (
            "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}",
            f"[{INSTRUCTION}\n\n",
            "]",
        ),
    ],
    ids=["white space", "loop", "generation", "break", "tojson", "tools", "date", "refuses", "drops"],
)
def test_a_template_is_cut_where_the_article_belongs(text: str, opening: str | None, closing: str) -> None:
    found = read(text)
    assert found.closing == closing
    assert found.opening == opening or (opening is None and INSTRUCTION in found.opening)


def test_tojson_writes_what_transformers_writes_and_not_html() -> None:
    assert read("{{ {'b': '<é>', 'a': 1} | tojson }}" + LOOP).opening.startswith('{"b": "<é>", "a": 1}<system>')


@pytest.mark.parametrize(
    "text",
    [
        "{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}",
        "{% if thinking %}on{% else %}off{% endif %}",
        "{% if thinking_budget == 0 %}off{% endif %}",
        "{% set enable_thinking = enable_thinking | default(true) %}{{ 'on' if enable_thinking else 'off' }}",
    ],
)
def test_thinking_is_switched_off_where_the_template_knows_how(text: str) -> None:
    found = read(LOOP + text)
    assert found.closing == "</s><assistant>off"
    assert found.switches_thinking


def test_a_word_about_thinking_is_no_switch() -> None:
    assert not read(LOOP + "{{ messages[0].thinking }}<think>").switches_thinking


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for m in messages %}", "end of template"),
        ("{{ messages[0].content ", "end of"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ raise_exception('x' * 100000) }}", "x{300}$"),
        ("{{ messages[0].content[:24] }}", "leaves out or changes the user's message"),
        ("{{ messages[-1].content | upper }}", "leaves out or changes the user's message"),
        ("{{ messages[-1].content * 2 }}", "writes the user's message 2 times"),
        ("{{ messages[-1].content[-39:] }}", "leaves out or changes the instruction"),
        ("{{ 'x' * 100000 }}" + LOOP, "more than 65536 characters"),
        ("{% for i in range(90000) %}{{ i }}{% endfor %}", "more than 65536 characters"),
        ("{{ 'x' * 10 ** 10 }}", "too much memory"),
        ("{% set many = [messages] * 10 ** 10 %}", "too much memory"),
        ("{{ '\\ud800' }}" + LOOP, "surrogates not allowed"),
        # The sandbox holds.
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe|undefined"),
        ("{% for m in messages %}{% set _ = messages.append(m) %}{% endfor %}", "unsafe"),
        ("{% include '/etc/passwd' %}", "."),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ModelLoadFailed, match=reason) as error:
        read(text)
    assert str(error.value).startswith("its chat template")
    assert "Traceback" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "text",
    ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 7 ** (9 ** 9) }}"],
    ids=["when it runs", "when it is compiled"],
)
def test_an_endless_template_fails_the_model_and_not_the_process(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "LIMIT_SECONDS", 1)
    # Health is not to tell of it in other tests.
    monkeypatch.setattr(lazy, "_registry", {})
    model: LazyModel[Frame] = LazyModel(f"endless {len(text)}", lambda _: read(text))
    model.start()
    wait_until(lambda: model.status.state == "failed", "the end of an endless template", seconds=60)
    assert model.status.detail == "its chat template is not done after 1 s of computing"


def test_a_process_that_dies_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the kernel does where memory runs out.
    child = tmp_path / "child.py"
    child.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", encoding="utf-8")
    monkeypatch.setattr(template, "CHILD", child)
    with pytest.raises(ModelLoadFailed, match=r"^its chat template ended its process \(signal 9\)$"):
        read(LOOP)


def test_the_process_of_a_template_loads_nothing_but_jinja2() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(template.CHILD)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    foreign = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
    assert {name for name in foreign if not name.startswith("_")} <= {"jinja2", "markupsafe", "sitecustomize"}
