"""Chat templates in the manner of each family, and the control tokens that they are written with.

Written for these models: the frame is the family's, what templates do beside it (tools, documents, dates) is left out.
"""

from dataclasses import dataclass

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Chat:
    """`end` is the token that ends an answer; `begin` the one that begins a text, None: the family has none."""

    template: str
    end: str
    begin: str | None = None
    others: tuple[str, ...] = ()


# Llama 3's template and tokens come with the tokenizer.
CHATS = {
    "chatml": Chat(_CHATML + "{% endif %}", "<|im_end|>", others=("<|im_start|>", "<|endoftext|>")),
    "qwen3": Chat(
        _CHATML + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
        "<|im_end|>",
        others=("<|im_start|>", "<|endoftext|>", "<think>", "</think>"),
    ),
    "lfm2": Chat(
        "{{ bos_token }}" + _CHATML + "{% endif %}", "<|im_end|>", "<|startoftext|>", ("<|im_start|>", "<|endoftext|>")
    ),
    "gemma": Chat(
        "{{ bos_token }}{% set first = namespace(text='') %}{% for message in messages %}"
        "{% if message.role == 'system' %}{% set first.text = message.content + '\n\n' %}{% else %}<start_of_turn>"
        "{{ 'model' if message.role == 'assistant' else message.role }}\n{{ first.text + message.content | trim }}"
        "{% set first.text = '' %}<end_of_turn>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        "<end_of_turn>",
        "<bos>",
        ("<start_of_turn>", "<eos>"),
    ),
    "granite": Chat(
        "{% for message in messages %}<|start_of_role|>{{ message.role }}<|end_of_role|>{{ message.content }}"
        "<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>"
        "{% endif %}",
        "<|end_of_text|>",
        others=("<|start_of_role|>", "<|end_of_role|>"),
    ),
    "phi": Chat(
        "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        "<|end|>",
        # llama.cpp looks the last three up in any model that is called Phi-3.
        others=("<|system|>", "<|user|>", "<|assistant|>", "</s>", "<unk>", "<s>", "<|endoftext|>"),
    ),
    "mistral": Chat(
        "{{ bos_token }}{% set first = namespace(text='') %}{% for message in messages %}"
        "{% if message.role == 'system' %}{% set first.text = message.content + '\n\n' %}"
        "{% elif message.role == 'user' %}[INST] {{ first.text + message.content }}[/INST]{% set first.text = '' %}"
        "{% else %} {{ message.content }}</s>{% endif %}{% endfor %}",
        "</s>",
        "<s>",
        ("[INST]", "[/INST]"),
    ),
}
