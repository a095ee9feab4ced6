"""Observations as turns of a chat model, and what stands before a prompt: the template's own words, in exact tokens."""

from pathlib import Path
from typing import Any

import pytest

from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ModelError
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import Policy
from sdsearch.rollout.collect import collect
from sdsearch.rollout.session import open_session
from sdsearch.spec import load

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EXAMPLE = {
    "question": "Which city does Orly serve?",
    "steps": [{"search": "Orly", "found": [{"title": "Orly", "text": "It serves Paris.</s>"}]}, {"answer": "Paris"}],
}
GRAMMAR = SearchR1.model_validate({"system": "Search first.", "examples": [EXAMPLE]})


def codec_of(policy: Policy, template: str = CHATML, **options: Any) -> TokenizerCodec:
    """Return a codec whose template writes control tokens, as those of chat models do."""
    tokenizer = policy.codec.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return TokenizerCodec(tokenizer, chat=True, **options)


def as_template(codec: TokenizerCodec, *talk: tuple[str, str]) -> str:
    messages = [{"role": role, "content": text} for role, text in talk]
    return str(codec.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize("ended", [True, False])
def test_an_episode_is_what_the_template_writes_of_it(tiny: Policy, role: Any, ended: bool) -> None:
    """Whether the model ended its message itself, or was stopped at the end tag of its action."""
    codec = codec_of(tiny, observations=role)
    (end,) = codec._written("<|im_end|>")
    context = codec.prompt("Who?\n")
    for text in ("<search> a </search>", "<search> b </search>"):
        context += codec.encode(text) + ((end,) if ended else ())
        context += codec.observation(f"\n\nfound {text[9]} <|im_end|>\n\n", context)
    said = [("user", "Who?\n")]
    for letter in "ab":
        said += [("assistant", f"<search> {letter} </search>"), (role, f"found {letter} <|im_end|>")]
    assert codec.decode(context) == as_template(codec, *said)
    assert context.count(end) == 5, "of the prompt, both actions and both observations: none that a passage wrote"


def test_the_preamble_is_what_the_template_writes_of_it(tiny: Policy) -> None:
    codec = codec_of(tiny, preamble=GRAMMAR.preamble, observations="user")
    expected = as_template(
        codec,
        ("system", "Search first."),
        ("user", "Question: Which city does Orly serve?\n"),
        ("assistant", "<search> Orly </search>"),
        ("user", "<information>Doc 1(Title: Orly) It serves Paris.</s>\n</information>"),
        ("assistant", "<answer> Paris </answer>"),
        ("user", "Question: Who?\n"),
    )
    assert codec.decode(codec.prompt("Question: Who?\n")) == expected
    eos = codec.tokenizer.eos_token_id
    assert eos not in codec.prompt(f"{codec.tokenizer.eos_token}")
    bare = codec_of(tiny, observations="user")
    assert codec.fingerprint != bare.fingerprint != codec_of(tiny).fingerprint


def test_without_a_template_the_preamble_is_text(tiny: Policy) -> None:
    codec = TokenizerCodec(tiny.codec.tokenizer, preamble=GRAMMAR.preamble)
    assert codec.decode(codec.prompt("Question: Who?\n")).endswith(
        "Search first.\n\nQuestion: Which city does Orly serve?\n<search> Orly </search>\n\n"
        "<information>Doc 1(Title: Orly) It serves Paris.</s>\n</information>\n\n<answer> Paris </answer>\n\n"
        "Question: Who?\n"
    )
    assert codec.observation("\n\nx\n\n", codec.encode("a")) == codec.encode("\n\nx\n\n")


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no tool": (
        "{% for m in messages if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endfor %}" + CHATML,
        {"observations": "tool"},
        "refuses a conversation of 3 messages: no tools",
    ),
    "counts": (
        CHATML.replace("{{ m", "{{ 'so, ' if loop.index > 4 and m['role'] == 'user' else '' }}{{ m", 1),
        {"observations": "user"},
        r"writes other things round a later message \(user\), .*; set model\.observations: text",
    ),
    "system last": (
        "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n"
        "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n{% endif %}"
        "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        {"preamble": GRAMMAR.preamble},
        "is not append-only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_a_template_that_does_not_append_them_is_refused(tiny: Policy, why: str) -> None:
    template, options, message = REFUSED[why]
    with pytest.raises(ModelError, match=message):
        codec_of(tiny, template, **options)


@pytest.mark.parametrize("observations", ["user", "tool", "text"])
def test_a_policy_is_shown_turns_and_its_groups_read_back(spec: Path, tiny: Policy, observations: str) -> None:
    from sdsearch.learning.source import legible

    codec = codec_of(tiny)
    tiny.model.resize_token_embeddings(len(codec.tokenizer))
    tiny.model.save_pretrained(spec.parent / "chatty")
    codec.tokenizer.save_pretrained(spec.parent / "chatty")
    changes = [f"model.name={spec.parent}/chatty", "model.chat=true", f"model.observations={observations}"]
    experiment = load(spec, [*changes, "environment.max_turns=3", "sampling.max_new_tokens=6"])
    session = open_session(experiment)
    (group,) = collect(experiment.environment.open(), session, experiment.questions("test")[:1], 3, seed=0)
    opened = Policy.load(experiment.model).codec
    legible("here", group, opened)
    for trajectory in group.trajectories:
        observed = [s for s in trajectory.segments if s.role == "observation"]
        assert len(observed) == 2
        for segment in observed:
            text = opened.decode(segment.tokens)
            assert text.endswith(
                f"<|im_start|>{observations}\n{segment.text.strip()}<|im_end|>\n<|im_start|>assistant\n"
            ) == (observations != "text")
        assert all(len(a.tokens) == len(a.logprobs) for a in trajectory.actions)
