"""The frame of a prompt, out of the chat template in the model's file.

The template is rendered once, when the model is loaded, with a mark in place of the article, and cut at the mark. It is
a program of whoever made the file, so it runs in a process of its own, with limits (see template_child.py).
"""

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.child import harmless_environment
from common.errors import ModelLoadFailed

CHILD = Path(__file__).with_name("template_child.py")
# Of computing, which says the same on a busy host; the other is for a process that gets no time at all.
LIMIT_SECONDS = 10
LIMIT_WAIT_SECONDS = 60
# Of addresses; the interpreter with jinja2 has about 50 MB of them.
LIMIT_BYTES = 512 * 1024 * 1024
# Templates with a long system prompt of their own write about 10,000.
LIMIT_CHARACTERS = 65_536
# How templates are told not to have the model think aloud. Each knows one of them, if any. Qwen3, SmolLM3, GLM,
# Gemma 4; Granite 3, DeepSeek V3.1; Seed-OSS; MiniMax.
NO_THINKING: Mapping[str, object] = {
    "enable_thinking": False,
    "thinking": False,
    "thinking_budget": 0,
    "thinking_mode": "disabled",
}

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Frame:
    """The text before an article, and the text behind it up to where the answer starts.

    `switches_thinking`: the template can be told not to have the model think aloud, and was.
    """

    opening: str
    closing: str
    switches_thinking: bool = False


def frame(template: str, instruction: str, special_tokens: Mapping[str, str]) -> Frame:
    """What `template` puts around an article that the model is to summarise as `instruction` says.

    The instruction is the system's message, or stands in front of the article where the template refuses or drops one.
    `special_tokens` are the texts of `bos_token` and its like. Raises ModelLoadFailed with the reason.
    """
    # Nobody who wrote a template or an instruction can have known it; letters and digits only, which no filter escapes.
    mark = f"article{secrets.token_hex(16)}"
    conversations = [
        [_message("system", instruction), _message("user", mark)],
        [_message("user", f"{instruction}\n\n{mark}")],
    ]
    reasons: list[str] = []
    answer = _render(template, conversations, {**special_tokens, **NO_THINKING})
    for outcome in answer["outcomes"]:
        reasons.append(outcome.get("error") or _fault(outcome["text"], mark, instruction))
        if not reasons[-1]:
            opening, closing = outcome["text"].split(mark)
            return Frame(opening, closing, not NO_THINKING.keys().isdisjoint(answer["asks_for"]))
    raise ModelLoadFailed(f"its chat template fails: {'; '.join(dict.fromkeys(reasons))}")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _fault(text: str, mark: str, instruction: str) -> str:
    """What is wrong with a rendered prompt; empty if nothing is."""
    if (count := text.count(mark)) != 1:
        return f"it writes the user's message {count} times" if count else "it leaves out or changes the user's message"
    return "" if instruction in text else "it leaves out or changes the instruction"


def _render(template: str, conversations: Sequence[Messages], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the process, see template_child.py. Raises ModelLoadFailed when it ends without one."""
    order = {
        "template": template,
        "conversations": conversations,
        "variables": {"add_generation_prompt": True, "tools": None, "documents": None, **variables},
        "seconds": LIMIT_SECONDS,
        "bytes": LIMIT_BYTES,
        "characters": LIMIT_CHARACTERS,
    }
    # -I: neither the working directory nor the environment decides what is imported.
    command = [sys.executable, "-I", "-B", str(CHILD)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(order).encode(),
            capture_output=True,
            cwd="/",
            env=harmless_environment(),
            timeout=LIMIT_WAIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelLoadFailed(f"its chat template is not done after {LIMIT_WAIT_SECONDS} s") from None
    except OSError as error:
        raise ModelLoadFailed(f"its chat template cannot be run: {error}") from None
    if done.returncode == -signal.SIGXCPU:
        raise ModelLoadFailed(f"its chat template is not done after {LIMIT_SECONDS} s of computing")
    if done.returncode:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ModelLoadFailed(f"its chat template ended its process ({ended}{said and ': '}{said[:200]})")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
