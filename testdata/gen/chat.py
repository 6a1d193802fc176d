"""Goldens of format/chat, made by transformers.

    python testdata/gen/chat.py SmolLM2.gguf

writes testdata/chat/golden.json.gz: chat templates (that of the GGUF file, and
others in the style of known models), conversations, and what
apply_chat_template makes of them: the text, or the error, and for the templates
with {% generation %} blocks the ids and the assistant's tokens under the
tokenizer testdata/tokenizer/gpt2.json.gz. `plain` is such a template without
the blocks, if it then gives the same tokens to learn.
"""
import gzip
import json
import os
import sys

import jinja2
import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "chat")

TEMPLATES = {
    "llama3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    "llama31": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}

{#- The system message, where there is one. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "llama2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
""",
    "qwen": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and loop.last %}
            {{- '<|im_start|>' + message.role + '\\n' + content.strip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "misc": """{%- macro head(role, mark='#') -%}
{{ mark ~ role | upper ~ mark }}
{%- endmacro -%}
{% set ns = namespace(n=0, seen=[]) %}
  {% for m in messages if m.role != 'system' %}
    {% if m.content == 'STOP' %}{% break %}{% endif %}
    {% if m.content == '' %}{% continue %}{% endif %}
    {% set ns.n = ns.n + m.content | length %}
{{ head(m.role) }}{{ head(m['role'], mark="*") }} {{ loop.index }}/{{ loop.length }} {{ m.content | replace('a', 'A') | trim }}
    {# a comment #}
  {% else %}
nobody
  {% endfor %}
{{ ns.n }} {{ missing }} {{ missing is defined }} {{ none is none }} {{ true and not false }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }}
{{ messages | map(attribute='role') | join(',') }} {{ messages[-1]['role'] }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ (messages | last).content[:5] }} {{ 'a b c'.split() | tojson }} {{ {'b': [1, 2.5, none, true], 'c': 'é"<&>\\'\\n'} | tojson }} {{ [] | tojson }} {{ {} | tojson }}
{{ [1, {'a': 'x'}] | tojson(indent=2) }}
{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
{{ 'yes' if add_generation_prompt else 'no' }} {{ bos_token }}{{ 'x' * 3 }} {{ 'abc' | first }} {{ "%s-%d" | format('q', 3) }} {{ ' q ' | trim ~ '|' }}""",
    "spaces": "\n  {% for m in messages %}\n  \t{% if m.role == 'user' %}  \n{{ m.content }}  \n  {%- else -%}  \n  {{ m.content -}}  \n\n {% endif %} x\n{% endfor %}\nend\n\n",
}

# Templates that mark what the assistant says.
MARKED = {
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n' + 'Be kind.' + '<|im_end|>' + '\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "llama2": """{%- for message in messages %}{%- if message['role'] == 'user' %}{{- bos_token + '[INST] ' + message['content'] + ' [/INST]' }}{%- elif message['role'] == 'assistant' %}{%- generation -%}{{- ' ' + message['content'] + ' ' + eos_token }}{%- endgeneration -%}{%- endif %}{%- endfor %}""",
    "blocks": """{% for m in messages %}
{% if m.role == 'assistant' %}
<|im_start|>assistant
{% generation %}
{{ m.content }}<|im_end|>
{% endgeneration %}
{% else %}
<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
""",
}


def plain(source):
    """The template without its marks, where that makes no other difference."""
    if "{% generation %}\n" in source:
        return None
    for tag in ("generation", "endgeneration"):
        for a in ("", "-"):
            for b in ("", "-"):
                source = source.replace("{%%%s %s %s%%}" % (a, tag, b), "")
    return source


U, A, S = (lambda c, role=r, **k: {"role": role, "content": c, **k} for r in ("user", "assistant", "system"))
CONVERSATIONS = [
    [U("Hi")],
    [S("You are terse."), U("Hi"), A("Hello!"), U("How are you?")],
    [U("What is 2+2?"), A("4"), U("And 3+3?"), A("6")],
    [S(""), U("  leading and trailing  \n"), A("\n\nnew lines\n around \n\n"), U("tab\tand\r\nCRLF")],
    [U("Grüße 👩‍👩‍👧‍👦 你好 שלום e\u0301"), A("नमस्ते 🇩🇪\u200d"), U("\u0000\u2028")],
    [U("{{ messages }} {% if x %} {# no #}"), A("<b>&amp; \"quoted\" 'single' \\n")],
    [U("a <|im_end|> inside <|im_start|>user"), A("and </s> here <s>")],
    [S("sys"), S("again"), U("two systems"), A("ok"), A("twice")],
    [A("assistant first"), U("then user")],
    [U("think"), A("<think>\nhm\n</think>\n\nanswer"), U("more"), A("<think>x</think>\n\nend\n")],
    [U("a"), A(""), U("b"), A("STOP"), U("c")],
    [S("only system")],
]
# The keys are in the order of the alphabet, the only one that a Go map can have.
TOOLS = [{"function": {"description": "Adds <é> & \"b\"", "name": "add", "parameters": {"properties": {"a": {"type": "number"}}, "required": ["a"], "type": "object"}}, "type": "function"}]
CALL = [U("add"), A("", tool_calls=[{"function": {"arguments": {"a": 1, "b": "zwei"}, "name": "add"}}]), {"role": "tool", "content": "3"}, A("It is 3.")]


def main():
    import gguf

    fields = gguf.GGUFReader(sys.argv[1]).fields
    smollm2 = fields["tokenizer.chat_template"].contents()
    with gzip.open(os.path.join(HERE, "..", "tokenizer", "gpt2.json.gz"), "rt", encoding="utf-8") as f:
        rust = tokenizers.Tokenizer.from_str(f.read())
    tok = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>")
    variables = {"bos_token": "<s>", "eos_token": "</s>"}

    def render(source, messages, prompt, **more):
        case = {"messages": messages, "prompt": prompt, "vars": {**variables, **more}}
        try:
            case["text"] = tok.apply_chat_template(messages, chat_template=source, add_generation_prompt=prompt, tokenize=False, **more)
        except (jinja2.TemplateError, TypeError) as e:
            case["error"] = str(e)
        return case

    out = {"about": {"script": "testdata/gen/chat.py", "transformers": transformers.__version__, "jinja2": jinja2.__version__, "tokenizers": tokenizers.__version__}, "templates": [], "marked": []}
    for name, source in {"smollm2": smollm2, **TEMPLATES}.items():
        cases = [render(source, c, p) for c in CONVERSATIONS for p in (False, True)]
        if name in ("llama31", "qwen"):
            cases += [render(source, c, p, tools=TOOLS) for c in (CONVERSATIONS[1], CONVERSATIONS[2]) for p in (False, True)]
        if name == "llama31":
            cases += [render(source, CALL, True), render(source, CALL, True, date_string="1 Jan 2025", tools=TOOLS)]
        if name == "qwen":
            cases += [render(source, CONVERSATIONS[0], True, enable_thinking=False)]
        out["templates"].append({"name": name, "source": source, "cases": cases})
    for name, source in MARKED.items():
        cases = []
        for c in CONVERSATIONS:
            case = render(source, c, False)
            enc = tok.apply_chat_template(c, chat_template=source, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            case["ids"], case["mask"] = enc["input_ids"], enc["assistant_masks"]
            cases.append(case)
        out["marked"].append({"name": name, "source": source, "plain": plain(source), "cases": cases})
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "golden.json.gz")
    with open(path, "wb") as f:
        f.write(gzip.compress(json.dumps(out, ensure_ascii=False, indent=0).encode(), 9, mtime=0))
    print(path, os.path.getsize(path))


main()
