"""What several tests need: a tiny policy with random weights and a real tokeniser, and a spec that trains it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn, write_groups
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.policy.policy import Policy
from sdsearch.spec import load
from sdsearch.warmstart.command import build
from sdsearch.warmstart.spec import Shape

TEXT = [f"Question: Which city does Airport {i} serve? Łódź, São Paulo, {i * 37}." for i in range(200)]


@pytest.fixture
def tiny() -> Policy:
    """Return a policy of two layers, its tags being tokens; the same weights each time."""
    torch.manual_seed(0)
    shape = Shape(layers=2, width=32, heads=4, feed_forward=64, vocabulary=400, context=512)
    policy = build(shape, TEXT)
    policy.model.eval()
    return policy


SPEC = """
name: small
out: {folder}/runs
data:
  train: {{type: jsonl, path: {folder}/questions.jsonl}}
  test: {{type: jsonl, path: {folder}/questions.jsonl}}
environment:
  retriever: {{type: exact, corpus: {{type: jsonl, path: {folder}/corpus.jsonl}}, embedder: {{type: hashing}}}}
  max_turns: 2
model: {{name: {folder}/model, device: cpu}}
sampling: {{max_new_tokens: 8}}
objective:
  credit: [{{type: small_parts.by_token}}]
  terms:
    - {{type: clipped_pg}}
    - {{type: distill, hint: {{type: hindsight}}, rows: policy, weight: 0.5}}
train: {{steps: 4, questions: 2, group: 3, learning_rate: 0.01, evaluate_every: 2, checkpoint_every: 1}}
evaluate: {{questions: 2, greedy: false}}
"""

CREDIT = """
from sdsearch.contracts.credit import GroupCredit
from sdsearch.crediting.per_turn import whole

class ByToken(GroupCredit):
    def of_group(self, group):
        return [whole(t, t.tokens[-1] % 3 - 1) for t in group.kept]
"""


@pytest.fixture
def spec(tmp_path: Path, tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a spec whose model, data and corpus are small files; its credit is arbitrary but seldom zero."""
    (tmp_path / "small_parts").mkdir()
    (tmp_path / "small_parts" / "__init__.py").touch()
    (tmp_path / "small_parts" / "by_token.py").write_text(CREDIT)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] == "small_parts"]:  # of another test's folder
        monkeypatch.delitem(sys.modules, name)
    tiny.model.save_pretrained(tmp_path / "model")
    tiny.codec.tokenizer.save_pretrained(tmp_path / "model")
    questions = [
        {"id": str(i), "question": f"Which city does Airport {i} serve?", "golden_answers": ["Rome"]} for i in range(5)
    ]
    corpus = [{"id": str(i), "title": f"Airport {i}", "text": f"Airport {i} serves Rome."} for i in range(9)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    path = tmp_path / "small.yaml"
    path.write_text(SPEC.format(folder=tmp_path))
    return path


PLAYS = [
    (["Airport 1 city", "city of Airport 1"], "Rome"),
    (["Airport 1"], "Oslo"),
    (["Which city", "Airport", "Łódź"], "Oslo"),
]


def attempt(tiny: Policy, prompt: str, question: Question, queries: list[str], answer: str) -> Trajectory:
    """Return an attempt in the tokens of a policy."""
    grammar = SearchR1()
    segments = [Segment("prompt", prompt, tiny.codec.prompt(prompt))]
    for kind, text in [*(("search", q) for q in queries), ("answer", answer)]:
        written = grammar.write(kind, text)
        tokens = tiny.codec.encode(written)
        spans = tuple(tiny.codec.spans(tokens, grammar))
        segments.append(Segment("model", written, tokens, (-1.0,) * len(tokens), spans))
        if kind == "search":
            segments.append(Segment("observation", "\n\nnothing\n\n", tiny.codec.encode("\n\nnothing\n\n")))
    turns = (*(Turn("search", q) for q in queries), Turn("answer", answer))
    right = float(answer == "Rome")
    return Trajectory(question, tuple(segments), turns, "answered", right, {"exact_match": right})


@pytest.fixture
def recorded(spec: Path, tiny: Policy) -> Path:
    """Return a file of four groups, the last of which is right throughout, on the questions of the small spec."""
    groups = []
    for number, question in enumerate(load(spec).questions("test")[:4]):
        prompt = f"Question: {question.text}\n"
        plays = [PLAYS[0], (["Airport 2"], "Rome")] if number == 3 else PLAYS
        groups.append(Group(question, tuple(attempt(tiny, prompt, question, *play) for play in plays)))
    path = spec.parent / "recorded.jsonl"
    write_groups(path, groups)
    return path


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tiny_qwen(tmp_path: Path) -> Path:
    """Return the folder of a model like Qwen2.5-Instruct with random weights and bytes for tokens."""
    folder = tmp_path / "model"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["Search with <search> query </search>."] * 9, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")  # type: ignore[no-untyped-call]
    wrapped.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    wrapped.add_tokens([AddedToken(t, special=False) for t in ("<tool_call>", "</tool_call>")])
    wrapped.chat_template = CHATML
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=wrapped.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder
