"""Every field of every section of an experiment's spec changes what it says.

A row of `ROWS` is a field, a change of it, how that is watched, and what has to be seen without and with the change.
Whoever adds a field adds a row.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import pytest
import torch
from accelerate import Accelerator

from sdsearch.config.component import Settings, resolve
from sdsearch.contracts.engine import Prompt
from sdsearch.core.trajectory import Group, Trajectory, read_groups
from sdsearch.errors import RetrieverUnavailable
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.learning import train as training
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.learning.trainer import Trainer
from sdsearch.monitoring.monitor import Monitor
from sdsearch.policy.policy import Policy, language_model
from sdsearch.retrieval import cached
from sdsearch.rollout.collect import begin
from sdsearch.rollout.session import open_session
from sdsearch.runs import provenance
from sdsearch.spec import Experiment, load
from sdsearch.warmstart.command import build
from sdsearch.warmstart.spec import Shape

PARTS = '''
"""Components that do as they are told, and note what they were asked."""

import time
from collections import Counter, defaultdict

import torch

from sdsearch.contracts.agent import Agent, Reply
from sdsearch.contracts.engine import Completion, Engine
from sdsearch.contracts.environment import Environment
from sdsearch.contracts.loss import LossOutput, Selection, Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.core.question import Hit, Passage
from sdsearch.core.trajectory import Segment
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.search import Search
from sdsearch.errors import RetrieverUnavailable

NOTED = defaultdict(list)


class Script(Engine):
    """Row i of a batch writes text i, or the parts between its bars one turn after the other; then from the start."""

    says: tuple[str, ...] = ("<answer> Rome </answer>", "<answer> Oslo </answer>")

    def open(self, model, sampling, weights=None):
        return Writer(self.says, weights.codec)


class Writer:
    def __init__(self, says, codec):
        self.says, self.codec, self.version, self.turns = says, codec, 0, Counter()

    def sync(self, version):
        self.version = version

    def reset(self, greedy=False):
        NOTED["greedy"].append(greedy)
        self.turns.clear()

    def sample(self, prompts, stops):
        NOTED["seeds"].append([p.seed for p in prompts])
        NOTED["prompts"] += [self.codec.decode(p.tokens) for p in prompts]
        return [self.write(p) for p in prompts]

    def write(self, prompt):
        parts = self.says[prompt.row % len(self.says)].split("|")
        text = parts[self.turns[prompt.row] % len(parts)]
        self.turns[prompt.row] += 1
        tokens = tuple(self.codec.encode(text)[: prompt.room])
        return Completion(tokens, (-1.0,) * len(tokens), "stop", self.version)


class Shelf(Retriever):
    """Knows four airports of one city; its first calls fail, and each takes a while."""

    city: str = "Rome"
    fails: int = 0
    takes: float = 0.0

    def open(self):
        return Opened(self)


class Opened:
    def __init__(self, settings):
        self.settings, self.calls = settings, 0

    def search(self, queries, k):
        self.calls += 1
        time.sleep(self.settings.takes)
        if self.calls <= self.settings.fails:
            raise RetrieverUnavailable("the shelf is shut")
        hits = [Hit(Passage(str(i), f"Airport {i}", f"It serves {self.settings.city}."), 1 - i / 9) for i in range(4)]
        return [hits[:k] for _ in queries]


class Loud(SearchR1):
    def prompt(self, question):
        return super().prompt(question).upper()


class Room(Environment):
    """The search environment with a louder prompt."""

    @property
    def grammar(self):
        return Loud()

    def open(self):
        return Search(retriever=Shelf(), protocol=Loud(), max_turns=self.max_turns).open()


class Parrot(Agent):
    """Always answers the same."""

    def open(self, grammar, model=None):
        return Perch()


class Perch:
    def reset(self, questions, seeds, greedy=False):
        pass

    def act(self, rows, texts):
        return [Reply(Segment("prompt", text), Segment("model", "<answer> Lima </answer>")) for text in texts]


class Alone(RolloutStrategy):
    """One rollout of each question, whatever the group."""

    def collect(self, collector):
        return collector.collect(collector.questions, 1)


class Count(Term):
    """The loss of a row is the number of rows of its trajectory."""

    heeds_credit = False

    def select(self, table, seed):
        NOTED["term_seeds"].append(seed)
        return Selection(torch.ones(len(table), dtype=torch.bool))

    def loss(self, rows):
        lengths = torch.bincount(rows.table.trajectory)[rows.table.trajectory]
        return LossOutput(lengths + 0 * rows.logprob, {})
'''

SPEC = """
out: {folder}/runs
data:
  train: {{type: jsonl, path: {folder}/questions.jsonl}}
  test: {{type: jsonl, path: {folder}/questions.jsonl}}
environment: {{type: search, retriever: {{type: "effect_parts:Shelf"}}, max_turns: 2}}
model: {{name: {folder}/model, device: cpu}}
sampling: {{engine: {{type: "effect_parts:Script"}}, max_new_tokens: 16}}
objective: {{credit: [group_mean], terms: [clipped_pg]}}
train: {{steps: 2, questions: 2, group: 2, learning_rate: 0.01, evaluate_every: 0, checkpoint_every: 0}}
evaluate: {{questions: 2, greedy: false}}
"""

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a spec whose sampler, retriever, questions and weights are ours: one folder serves all rows."""
    folder = tmp_path_factory.mktemp("effects")
    torch.manual_seed(0)
    policy = build(Shape(layers=2, width=32, heads=4, feed_forward=64, vocabulary=320, context=256), [PARTS])
    for name in ("model", "chatty", "flat"):
        policy.codec.tokenizer.chat_template = TEMPLATE if name == "chatty" else None
        policy.head.weight.data *= name != "flat"  # every token is as likely as any other
        policy.model.save_pretrained(folder / name)
        policy.codec.tokenizer.save_pretrained(folder / name)
    for name, count in (("questions", 5), ("others", 3)):
        asked = [
            {"id": f"{name[0]}{i}", "question": f"Which city does Airport {i} serve?", "golden_answers": ["Rome"]}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (folder / "effect_parts.py").write_text(PARTS)
    path = folder / "effects.yaml"
    path.write_text(SPEC.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for name in ("Rome", "Oslo"):
            texts = [f"<answer> {city} </answer>" for city in (name, "Lima", name, name)]
            with quiet():
                training.train(load(path, [f"name={name}", says(*texts)]))
        yield path
        sys.modules.pop("effect_parts", None)
    RUNS.clear()


class Noted(torch.optim.AdamW):
    """Notes, of each step, the learning rate, the norm of the gradient, and the furthest that a weight moved."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.norms, self.moves = list[float](), list[float]()
        noted()["optimizers"].append(self)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        super().step()
        self.moves.append(max(float((p - b).detach().abs().max()) for p, b in zip(parameters, before, strict=True)))


def noted() -> defaultdict[str, list[Any]]:
    """Return what was noted since it was last cleared."""
    found: defaultdict[str, list[Any]] = importlib.import_module("effect_parts").NOTED
    return found


MACHINE = cache(provenance.machine)


@contextmanager
def quiet() -> Iterator[None]:
    """Draw no pictures and look for no versions, which take longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "report", lambda self: None)
        patch.setattr(training, "learning_curve", lambda *_: None)
        patch.setattr(provenance, "machine", MACHINE)
        yield


@contextmanager
def watched() -> Iterator[None]:
    """Note what optimisers, the policy's forward passes, credits and a patient retriever do."""
    project, logits, learn = Policy.project, Policy.logits, Learner.learn

    def projecting(self: Policy, hidden: torch.Tensor) -> torch.Tensor:
        kind = "trained" if torch.is_grad_enabled() else "scored"
        noted()[kind].append(str(self.head(hidden).dtype).removeprefix("torch."))
        return project(self, hidden)

    def scoring(self: Policy, prompts: Any, rest: Any, positions: Any) -> torch.Tensor:
        noted()["sequences"].append(len(prompts))
        return logits(self, prompts, rest, positions)

    def learning(self: Learner, groups: Any, advantages: Any, *more: Any, **named: Any) -> Any:
        noted()["torch"].append(torch.initial_seed())
        noted()["advantages"] += [float(values[0]) for values in advantages.values]
        twins = [self.policy, *(p for kind, p in self.teachers.policies.items() if kind == "ema")]
        before = [twin.head.weight.detach().clone() for twin in twins]
        learned = learn(self, groups, advantages, *more, **named)
        policy, *average = (float((t.head.weight - b).detach().norm()) for t, b in zip(twins, before, strict=True))
        noted()["followed"] += [moved / policy for moved in average]
        return learned

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: noted()["pauses"].append(seconds))
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Noted)
        patch.setattr(Policy, "project", projecting)
        patch.setattr(Policy, "logits", scoring)
        patch.setattr(Learner, "learn", learning)
        patch.setattr(cached, "time", clock)
        patch.setattr(cached, "jitter", lambda least, most: most)
        noted().clear()
        yield


@dataclass
class Seen:
    """What a run did and left."""

    folder: str
    lines: list[dict[str, Any]]
    """Its metrics."""
    played: dict[str, list[Group]]
    """By the name of the file, such as "step_1"."""
    kept: dict[str, list[int]]
    """The steps of which there are checkpoints, columns."""
    trouble: str
    """What ended it early."""
    noted: dict[str, list[Any]]

    def steps(self, kind: str = "train") -> list[dict[str, Any]]:
        """Return the figures of the steps, or of the evaluations."""
        return [line[kind] for line in self.lines if kind in line]

    def episodes(self, name: str = "step_1") -> list[Trajectory]:
        """Return the episodes of a step or an evaluation."""
        return [t for group in self.played[name] for t in group.trajectories]

    @property
    def optimizers(self) -> list[Noted]:
        """The critic's first, if there is one."""
        return self.noted["optimizers"]


RUNS = dict[str, Seen]()


def ran(experiment: Experiment) -> Seen:
    """Train for real, once for each spec, and return what was seen of it."""
    key = experiment.model_dump_json()
    if key in RUNS:
        return RUNS[key]
    folder, trouble = experiment.folder, ""
    shutil.rmtree(folder, ignore_errors=True)  # of another row with the same name
    with watched():
        try:
            training.train(experiment)
        except RetrieverUnavailable as error:
            trouble = str(error)
        seen = defaultdict(list, noted())
    metrics = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    played = {path.stem: list(read_groups(path)) for path in (folder / "trajectories").glob("*.jsonl")}
    kept = {
        kind: sorted(int(path.stem.rpartition("_")[2]) for path in (folder / kind).glob("step_*"))
        for kind in ("checkpoints", "columns")
    }
    RUNS[key] = Seen("/".join(folder.parts[-3:]), lines, played, kept, trouble, seen)
    return RUNS[key]


T = TypeVar("T")
Watch = Callable[[Experiment], Any]


def of_run(look: Callable[[Seen], Any]) -> Watch:
    """Watch a run of the whole spec."""
    return lambda experiment: look(ran(experiment))


def opened(experiment: Experiment) -> Learner:
    """Return the weights of an experiment."""
    with quiet():
        return Learner(experiment, Processes(Accelerator()))


def adam(experiment: Experiment) -> list[float]:
    """Return how far weights of 2 are moved by a gradient of 1 everywhere, and then by one of -2."""
    learner, moves = opened(experiment), list[float]()
    weight = learner.policy.head.weight
    weight.data.fill_(2.0)
    for gradient in (1.0, -2.0):
        before = weight.mean().item()
        for parameter in learner.policy.model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        learner.optimizer.step()
        moves.append(weight.mean().item() - before)
    return moves


def loaded(what: str) -> Watch:
    """Watch with which option weights and tokeniser are asked for, or (`device`) where the weights go."""

    class Enough(Exception):
        pass

    class Weights:
        def to(self, device: torch.device) -> None:
            noted()["device"].append(str(device))
            raise Enough

    def watch(experiment: Experiment) -> list[Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        real = AutoTokenizer.from_pretrained

        def tokenizer(name: str, **options: Any) -> Any:
            noted()[what].append(options.get(what))
            return real(name)

        def model(name: str, **options: Any) -> Weights:
            noted()[what].append(options.get(what))
            return Weights()

        noted().clear()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Enough):
            patch.setattr(AutoTokenizer, "from_pretrained", tokenizer)
            patch.setattr(AutoModelForCausalLM, "from_pretrained", model)
            opened(experiment)
        return noted()[what]

    return watch


def temperatures(experiment: Experiment) -> list[float]:
    """Return what the logits are divided by in sampling, scoring, each teacher, and evaluation."""
    learner = opened(experiment)
    prompt, rest = tuple(range(5, 15)), (7,)

    def raw(policy: Policy) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = policy.model(torch.tensor([prompt])).logits[0, -1]
        return found

    found = []
    for policy in (learner.policy, *(learner.teachers.policies[kind] for kind in ("frozen", "external"))):
        scored = policy.logits([prompt], [rest], [[0]])[0]
        found.append(float((raw(policy).std() / scored.std()).detach()))
    trained = language_model(experiment.model, experiment.sampling, learner.policy).sampler
    judged = open_session(experiment).model.sampler  # type: ignore[attr-defined]
    for sampler in (trained, judged):
        drawn = sampler.sample([Prompt(row, prompt, 1, row) for row in range(2)], ())
        (a, b), odds = (turn.tokens[0] for turn in drawn), drawn[0].logprobs[0] - drawn[1].logprobs[0]
        found.append(float(raw(learner.policy)[a] - raw(learner.policy)[b]) / odds)
    return found


def kept(experiment: Experiment) -> str:
    """Return the numbers of the training questions."""
    return "".join(q.id.removeprefix("q") for q in experiment.questions("train"))


def places(experiment: Experiment) -> int:
    """Return the places of the cache after two turns in which one of two rows writes 16 tokens and the other 2.

    A row takes its first token, 15 and 1 that it wrote before, what it was shown next, and all but the last of a turn:
    19. The batch takes 1 + 15, the last token of the turn and the one shown, and 15 more: 33.
    """
    sampler = language_model(experiment.model, experiment.sampling, opened(experiment).policy).sampler
    sampler.ends = frozenset()  # type: ignore[attr-defined]
    contexts: list[tuple[int, ...]] = [(5,), (6,)]
    for rooms in ((16, 2), (2, 16)):
        turns = sampler.sample([Prompt(row, contexts[row], rooms[row], row) for row in range(2)], ("</never>",))
        contexts = [(*context, *turn.tokens, 9) for context, turn in zip(contexts, turns, strict=True)]
    return int(sampler.context.mask.shape[1])  # type: ignore[attr-defined]


def taught(experiment: Experiment) -> list[Any]:
    """Return the weights that can teach, and whether the external ones find every token as likely as any other."""
    policies = opened(experiment).teachers.policies
    other = policies.get("external")
    return [*sorted(policies), other is not None and not other.logits([[5]], [[6]], [[0]]).any().item()]


def answers(experiment: Experiment) -> list[str | None]:
    """Return the answers of an evaluation."""
    return [t.answer for g in evaluate(experiment).groups for t in g.trajectories]


def trouble(experiment: Experiment) -> str:
    """Return the shares that an evaluation broke off for."""
    try:
        evaluate(experiment)
    except RetrieverUnavailable as error:
        return shares(str(error))
    return ""


def shares(said: str) -> str:
    """Return the two shares in a message."""
    return " of ".join(re.findall(r"\d+%", said))


def warned(figure: str, *values: float) -> Watch:
    """Watch at which of some values of a figure, from 1, a run warns."""

    def watch(experiment: Experiment) -> list[int]:
        monitor, asked = Monitor(experiment.monitors), figure.removeprefix("retrieval/")
        where = "train" if asked == figure else "retrieval"
        return [i for i, value in enumerate(values, 1) if monitor.check({"train": {}, where: {asked: value}})]

    return watch


def deafness(experiment: Experiment) -> list[int]:
    """Return after how many groups without any label effect a run warns."""
    monitor = Monitor(experiment.monitors)
    lines = ({"train": {}, "labels": {"distill": [[effect, 1.0]]}} for effect in (1.0, -1.0, 1.0, -1.0))
    return [i for i, line in enumerate(lines, 1) if monitor.check(line)]


def deadly(experiment: Experiment) -> list[int]:
    """Return after how many steps without any gradient a run warns."""
    monitor = Monitor(experiment.monitors)
    return [i for i in range(1, 4) if monitor.check({"train": {"gradient_norm": 0.0}})]


falls = warned("reward", 0.5, 0.2, 0.2, 0.2)
idles = warned("applied", 0.0, 0.0, 0.0)


def likeliest(experiment: Experiment) -> bool:
    """Say whether every token of an evaluation is the one that the model finds likeliest."""
    model = opened(experiment).policy.model.eval()
    for t in (t for g in evaluate(experiment).groups for t in g.trajectories):
        best = model(torch.tensor([t.tokens])).logits[0].argmax(-1).tolist()
        at = 0
        for segment in t.segments:
            if segment.role == "model" and tuple(best[at - 1 : at - 1 + len(segment.tokens)]) != segment.tokens:
                return False
            at += len(segment.tokens)
    return True


class Row(NamedTuple):
    """What is to be seen of a field."""

    field: str
    change: str | tuple[str, ...]
    """As `--set` takes it."""
    watch: Watch
    before: Any
    """What is seen without the change."""
    after: Any
    """What is seen with it; numbers are compared in three digits."""
    given: tuple[str, ...] = ()
    """What the change is made to, beside `SPEC`."""


def says(*texts: str) -> str:
    """Let row i of a batch write text i; a bar begins another turn."""
    return f"sampling.engine.says={json.dumps(texts)}"


ONE = ("train.steps=1",)
THREE = ("train.steps=3", "train.keep_checkpoints=9")
REAL = (*ONE, "sampling.engine=transformers")
SEARCH = "<search> a </search>|<answer> Rome </answer>"
RIGHT, WRONG, LIMA = (f"<answer> {city} </answer>" for city in ("Rome", "Oslo", "Lima"))
SEARCHING = (*ONE, says(SEARCH), "train.max_outage_rate=1")
SAMPLED = ("data.train.sample={count: 2}",)
PARTED = ("data.train.split={part: a, shares: {a: 1, b: 1}}",)
SHUT = (*ONE, "environment.retriever.fails=999", "environment.patience.retries=0")
CRITIC = (*ONE, "objective.credit=[gae]")
STORED = (*ONE, "train.source={type: stored, run: {folder}/runs/Rome/0}")
PHASES = (
    "objective=null",
    "train.steps=null",
    "train.phases=[{steps: 1, objective: {terms: [entropy]}}, {steps: 1, objective: {terms: [effect_parts:Count]}}]",
)
COUNT = ("objective={credit: [], terms: [{type: effect_parts:Count, weight: 2}]}",)
# An action of tags alone, 3 of them or 5: a loss of 3 in each of 3 rows, and of 5 in each of 5.
TAGS = (*ONE, *COUNT, "environment.max_turns=1", says("<think>" * 3, "<think>" * 5))
SCHEDULE = ("train.steps=3", "objective={credit: [], terms: [{type: effect_parts:Count, weight: {value: 2}}]}")
HINTED = (
    "train.steps=3",
    says(SEARCH, SEARCH.replace("Rome", "Oslo")),
    "objective.terms=[clipped_pg, {type: distill, hint: hindsight}]",
)
LEARNERS = ("teacher={name: {folder}/model, device: cpu}", "objective.terms=[clipped_pg, kl]", REAL[1])

EXAMPLE = (
    *ONE,
    "environment.protocol.examples=[{question: A, steps: [{search: b, found: [{text: c}]}, {answer: d}]}]",
)
CHATTY = (*SEARCHING, "model={name: {folder}/chatty, device: cpu, chat: true}")


def example(question: str = "A", search: str = "b", found: str = ") c", answer: str = "d", think: str = "") -> str:
    """Return what an example is in the prompt."""
    think = think and f"<think> {think} </think>\n"
    return (
        f"Question: {question}\n{think}<search> {search} </search>\n\n<information>Doc 1(Title: {found}\n"
        f"</information>\n\n<answer> {answer} </answer>\n\n"
    )


folder = of_run(lambda seen: seen.folder)
before = of_run(lambda seen: seen.noted["prompts"][-1].partition("Question: Which")[0])
observed = of_run(lambda seen: [r for r in ("user", "tool") if f"<|{r}|><information>" in seen.noted["prompts"][-1]])
asked = of_run(lambda seen: [g.question.id for n in (1, 2) for g in seen.played[f"step_{n}"]])
prompt = of_run(lambda seen: seen.noted["prompts"][-1][:8])
written = of_run(lambda seen: [action.text for t in seen.episodes() for action in t.actions])
shown = of_run(lambda seen: seen.episodes()[0].segments[2].text.strip())
sizes = of_run(lambda seen: [len(group.trajectories) for group in seen.played["step_1"]])
rewards = of_run(lambda seen: [t.reward for t in seen.episodes()])
ends = of_run(lambda seen: [seen.episodes()[0].stop_reason, len(seen.episodes()[0].turns)])
advantages = of_run(lambda seen: seen.noted["advantages"][:2])
terms = of_run(lambda seen: [[n[:-5] for n in step if n.endswith("/rows")] for step in seen.steps()])
phases = of_run(lambda seen: [line.get("phase") for line in seen.lines if "train" in line])
spent = of_run(lambda seen: [line["spent"]["rollouts"] for line in seen.lines if "train" in line])
moves = of_run(lambda seen: seen.optimizers[-1].moves)
pauses = of_run(lambda seen: seen.noted["pauses"])
judged = of_run(lambda seen: [line["step"] for line in seen.lines if "evaluate" in line])
saved = of_run(lambda seen: seen.kept["checkpoints"])
precise = of_run(lambda seen: [sorted(set(seen.noted[kind])) for kind in ("trained", "scored")])
broken = of_run(lambda seen: shares(seen.trouble))
mixed = of_run(lambda seen: [group.mixed for group in seen.played["step_1"]])
loss = of_run(lambda seen: seen.steps()[0]["loss"])
# All 320 tokens are as likely: -log 320 is -5.77.
uniform = of_run(lambda seen: {round(p, 2) for t in seen.episodes() for a in t.actions for p in a.logprobs} == {-5.77})
sequences = of_run(lambda seen: seen.noted["sequences"])


@of_run
def measured(seen: Seen) -> list[int]:
    """Return in how many groups each step has measured whether labels are read."""
    return [len(line.get("labels", {}).get("distill", ())) for line in seen.lines if "train" in line]


@of_run
def factors(seen: Seen) -> list[float]:
    """Return what each step's loss is a multiple of the term's; 0 where the term is not computed."""
    name = "effect_parts:Count/loss"
    return [step["loss"] / step[name] if name in step else 0.0 for step in seen.steps()]


def limit(name: str, figure: str, least: bool = False, relative: bool = False) -> Row:
    """Return the row of a limit, from above or below: a figure of 0.5, or 2 times its start, lies between two."""
    low, high, values = (1.5, 2.5, (10.0, 20.0)) if relative else (0.25, 0.75, (0.5, 0.5, 0.5))
    first, second = (high, low) if least else (low, high)
    crossed = [2] if relative else [3] if figure.startswith("grad_ratio") else [1]
    given = ("monitors.window=1", f"monitors.{name}={first}")
    return Row(f"Monitors.{name}", f"monitors.{name}={second}", warned(figure, *values), crossed, [], given)


ROWS = [
    Row("Experiment.name", "name=other", folder, "runs/effects/0", "runs/other/0"),
    Row("Experiment.seed", "seed=7", folder, "runs/effects/0", "runs/effects/7"),
    Row("Experiment.seed", "seed=7", of_run(lambda seen: seen.noted["torch"]), [0, 0], [7, 7]),
    # What Python draws from "0/0" and "7/0": two of five questions a step.
    Row("Experiment.seed", "seed=7", asked, ["q2", "q3", "q4", "q1"], ["q2", "q0", "q3", "q4"]),
    Row("Experiment.out", "out={folder}/elsewhere", folder, "runs/effects/0", "elsewhere/effects/0"),
    Row("Experiment.environment", "environment={type: effect_parts:Room}", prompt, "Question", "QUESTION", ONE),
    Row(
        "Experiment.data",
        "data={train: {path: {folder}/others.jsonl}, test: {path: {folder}/others.jsonl}}",
        of_run(lambda seen: [seen.played[name][0].question.id[0] for name in ("step_1", "evaluate_0")]),
        ["q", "q"],
        ["o", "o"],
        ONE,
    ),
    Row("Experiment.model", "model={name: {folder}/flat}", uniform, False, True, REAL),
    Row("Experiment.sampling", f"sampling={{engine: {{says: [{WRONG}]}}}}", written, [RIGHT, WRONG] * 2, [WRONG] * 4),
    Row("Experiment.agent", "agent=effect_parts:Parrot", answers, ["Rome", "Oslo"], ["Lima", "Lima"]),
    Row(
        "Experiment.teacher",
        "teacher={name: {folder}/model, device: cpu}",
        taught,
        ["live", False],
        ["external", "live", False],
    ),
    Row(
        "Experiment.teacher",
        "teacher={name: {folder}/flat}",
        taught,
        ["external", "frozen", "live", False],
        ["external", "frozen", "live", True],
        LEARNERS,
    ),
    Row(
        "Experiment.objective",
        "objective={credit: [], terms: [entropy]}",
        terms,
        [["clipped_pg"]] * 2,
        [["entropy"]] * 2,
    ),
    Row("Experiment.train", "train={steps: 3}", of_run(lambda seen: len(seen.steps())), 2, 3),
    Row(
        "Experiment.monitors",
        "monitors={drift_mean: null}",
        of_run(lambda seen: ["drift_mean" in [w["limit"] for w in line.get("warnings", ())] for line in seen.lines]),
        [False, True, False, False],
        [False] * 4,
    ),
    Row("Experiment.evaluate", "evaluate={questions: 3}", answers, ["Rome", "Oslo"], ["Rome", "Oslo", "Rome"]),
    #
    Row(
        "Data.train",
        "data.train={path: {folder}/others.jsonl}",
        of_run(lambda seen: seen.played["step_1"][0].question.id[0]),
        "q",
        "o",
        ONE,
    ),
    Row(
        "Data.test",
        "data.test={path: {folder}/others.jsonl}",
        of_run(lambda seen: seen.played["evaluate_0"][0].question.id[0]),
        "q",
        "o",
        ONE,
    ),
    #
    Row("Model.name", "model.name={folder}/flat", uniform, False, True, REAL),
    Row("Model.gguf_file", "model.gguf_file=w.gguf", loaded("gguf_file"), [None, None], ["w.gguf", "w.gguf"]),
    Row("Model.dtype", "model.dtype=bfloat16", precise, [["float32"], []], [["bfloat16"], []], ONE),
    Row("Model.device", "model.device=meta", loaded("device"), [None, None, "cpu"], [None, None, "meta"]),
    Row("Model.observations", "model.observations=tool", observed, ["user"], ["tool"], CHATTY),
    Row("Model.observations", "model.observations=text", observed, ["user"], [], CHATTY),
    Row("Model.chat", "model.chat=true", prompt, "Question", "<|user|>", (*ONE, "model.name={folder}/chatty")),
    Row(
        "Model.trust_remote_code",
        "model.trust_remote_code=true",
        loaded("trust_remote_code"),
        [False, False],
        [True, True],
    ),
    #
    Row("Sampling.temperature", "sampling.temperature=2", temperatures, [1.0] * 5, [2.0] * 5, LEARNERS),
    Row(
        "Sampling.max_new_tokens",
        "sampling.max_new_tokens=3",
        of_run(lambda seen: {len(a.tokens) for t in seen.episodes() for a in t.actions}),
        {16},
        {3},
        (*ONE, says("hm " * 20)),
    ),
    Row(
        "Sampling.context",
        "sampling.context=60",
        ends,
        ["max_turns", 3],
        ["context_full", 1],
        (*ONE, says("hm"), "environment.max_turns=3"),
    ),
    Row(
        "Sampling.engine",
        f"sampling.engine={{type: effect_parts:Script, says: [{WRONG}]}}",
        written,
        [RIGHT, WRONG] * 2,
        [WRONG] * 4,
    ),
    Row("Transformers.holes", "sampling.engine.holes=0.9", places, 19, 33, ("sampling.engine={type: transformers}",)),
    #
    Row(
        "Environment.max_turns", "environment.max_turns=3", ends, ["max_turns", 2], ["max_turns", 3], (*ONE, says("hm"))
    ),
    Row(
        "Search.retriever",
        "environment.retriever={city: Oslo}",
        of_run(lambda seen: seen.episodes()[0].segments[2].text.count("It serves Oslo.")),
        0,
        3,
        SEARCHING,
    ),
    Row(
        "Search.patience",
        "environment.patience={pause: 0.1}",
        pauses,
        [0.5, 1.0],
        [0.1, 0.2],
        (*SEARCHING, "environment.retriever.fails=2"),
    ),
    Row("Grammar.system", "environment.protocol.system=Hello", before, "", "Hello\n\n", ONE),
    Row("Grammar.examples", "environment.protocol.examples=[]", before, example(), "", EXAMPLE),
    *(
        Row(field, f"environment.protocol.examples.0.{key}", before, example(), example(**changed), EXAMPLE)
        for field, key, changed in (
            ("Example.question", "question=Z", {"question": "Z"}),
            ("Example.steps", "steps=[{search: z, found: [{text: c}]}, {answer: d}]", {"search": "z"}),
            ("Step.search", "steps.0.search=z", {"search": "z"}),
            ("Step.think", "steps.0.think=z", {"think": "z"}),
            ("Step.found", "steps.0.found=[{text: z}]", {"found": ") z"}),
            ("Step.answer", "steps.1.answer=z", {"answer": "z"}),
            ("Found.title", "steps.0.found.0.title=Z", {"found": "Z) c"}),
            ("Found.text", "steps.0.found.0.text=z", {"found": ") z"}),
        )
    ),
    Row(
        "SearchR1.instruct",
        "environment.protocol.instruct=true",
        lambda e: "Answer the question" in begin(e.environment.open(), e.questions("test")[:1])[1][0],
        False,
        True,
    ),
    Row("Search.protocol", "environment.protocol=effect_parts:Loud", prompt, "Question", "QUESTION", ONE),
    # "Rome Italy" shares a word of two with "Rome": precision 1/2, recall 1.
    Row(
        "Search.reward",
        "environment.reward=f1",
        rewards,
        [0.0] * 4,
        [2 / 3] * 4,
        (*ONE, says("<answer> Rome Italy </answer>")),
    ),
    Row(
        "Search.top_k",
        "environment.top_k=1",
        of_run(lambda seen: [len(t.turns[0].hits) for t in seen.episodes()]),
        [3] * 4,
        [1] * 4,
        SEARCHING,
    ),
    Row("Search.on_invalid", "environment.on_invalid=end", ends, ["max_turns", 2], ["invalid", 1], (*ONE, says("hm"))),
    Row(
        "Patience.seconds",
        "environment.patience.seconds=0.02",
        ends,
        ["answered", 2],
        ["retriever_unavailable", 1],
        (*SEARCHING, "environment.retriever.takes=0.2", "environment.patience.retries=0"),
    ),
    Row(
        "Patience.retries",
        "environment.patience.retries=1",
        # The first of all searches, in the first evaluation: an outage where two attempts are all.
        of_run(lambda seen: [seen.lines[0]["retrieval"][what] for what in ("retries", "outages")]),
        [2, 0],
        [1, 1],
        (*SEARCHING, "environment.retriever.fails=2"),
    ),
    Row(
        "Patience.pause",
        "environment.patience.pause=0.1",
        pauses,
        [0.5, 1.0],
        [0.1, 0.2],
        (*SEARCHING, "environment.retriever.fails=2"),
    ),
    Row(
        "SearchR1.instruction",
        "environment.protocol={type: search_r1, instruction: Find it. }",
        prompt,
        "Question",
        "Find it.",
        ONE,
    ),
    Row(
        "SearchR1.max_passage_characters",
        "environment.protocol={type: search_r1, max_passage_characters: 9}",
        shown,
        "<information>Doc 1(Title: Airport 0) It serves Rome.\n</information>",
        "<information>Doc 1(Title: Airport 0) It serves [cut]\n</information>",
        (*SEARCHING, "environment.top_k=1"),
    ),
    #
    # Two rewards, 1 and 0, are (r - 1/2) / sqrt(1/2) in units of their deviation, and r - other without one.
    Row("Objective.credit", "objective.credit=[leave_one_out]", advantages, [0.5**0.5, -(0.5**0.5)], [1.0, -1.0], ONE),
    Row(
        "Objective.terms",
        "objective.terms=[clipped_pg, entropy]",
        terms,
        [["clipped_pg"]] * 2,
        [["clipped_pg", "entropy"]] * 2,
    ),
    Row(
        "Credit.weight",
        "objective.credit.0.weight=3",
        advantages,
        [1.0, -1.0],
        [3.0, -3.0],
        (*ONE, "objective.credit=[{type: leave_one_out}]"),
    ),
    Row("Term.weight", "objective.terms.0.weight=3", factors, [2.0, 2.0], [3.0, 3.0], COUNT),
    # The losses of two times 3 + 5 rows are 2 * (3 * 3 + 5 * 5) = 68 in all, and 16 in the sum of trajectories' means.
    Row("Term.normalise", "objective.terms.0.normalise=trajectory", loss, 2 * 68 / 16, 2 * 16 / 4, TAGS),
    Row("Term.normalise", "objective.terms.0.normalise=constant", loss, 2 * 68 / 16, 2 * 68 / (256 * 4), TAGS),
    Row(
        "Term.constant",
        "objective.terms.0.constant=10",
        loss,
        2 * 68 / (256 * 4),
        2 * 68 / (10 * 4),
        (*TAGS, "objective.terms.0.normalise=constant"),
    ),
    Row("Schedule.value", "objective.terms.0.weight.value=3", factors, [2.0] * 3, [3.0] * 3, SCHEDULE),
    Row("Schedule.from_step", "objective.terms.0.weight.from_step=1", factors, [2.0] * 3, [0.0, 2.0, 2.0], SCHEDULE),
    Row(
        "Schedule.from_step",
        "train.phases.1.objective.terms.0.weight.from_step=1",
        factors,
        [0.0, 2.0, 2.0],
        [0.0, 0.0, 2.0],
        (*PHASES, "train.phases.1={steps: 2, objective: {terms: [{type: effect_parts:Count, weight: {value: 2}}]}}"),
    ),
    Row("Schedule.ramp", "objective.terms.0.weight.ramp=2", factors, [2.0] * 3, [1.0, 2.0, 2.0], SCHEDULE),
    #
    Row("Train.steps", "train.steps=3", of_run(lambda seen: len(seen.steps())), 2, 3),
    Row("Train.source", "train.source={type: stored, run: {folder}/runs/Oslo/0}", spent, [4.0], [0.0], ONE),
    Row(
        "Source.type", "train.source={type: stored, run: {folder}/runs/Oslo/0}", rewards, [1.0, 0.0] * 2, [0.0] * 4, ONE
    ),
    Row(
        "Source.run",
        "train.source.run={folder}/runs/Oslo/0",
        written,
        [RIGHT, LIMA, RIGHT, RIGHT],
        [WRONG, LIMA, WRONG, WRONG],
        STORED,
    ),
    Row(
        "Source.filter",
        "train.source.filter=mixed",
        mixed,
        [False, True],
        [True, True],
        (*ONE, says(RIGHT, RIGHT, RIGHT, WRONG)),
    ),
    Row("Source.filter", "train.source.filter=mixed", mixed, [True, False], [True, True], STORED),
    Row(
        "Source.rounds",
        "train.source.rounds=2",
        spent,
        [6.0],
        [4.0],
        (*ONE, says(RIGHT), "train.questions=1", "train.source.filter=mixed"),
    ),
    Row("Train.phases", PHASES, terms, [["clipped_pg"]] * 2, [["entropy"], ["effect_parts:Count"]]),
    Row("Phase.steps", "train.phases.0.steps=2", phases, [1, 2], [1, 1, 2], PHASES),
    Row(
        "Phase.objective",
        "train.phases.1.objective.terms=[entropy, kl]",
        terms,
        [["entropy"], ["effect_parts:Count"]],
        [["entropy"], ["entropy", "kl"]],
        PHASES,
    ),
    Row("Phase.source", "train.phases.1.source={type: stored}", spent, [4.0, 8.0], [4.0, 4.0], PHASES),
    Row("Train.questions", "train.questions=3", sizes, [2, 2], [2, 2, 2], ONE),
    Row("Train.group", "train.group=3", sizes, [2, 2], [3, 3], ONE),
    Row("Train.rollouts", "train.rollouts=effect_parts:Alone", sizes, [2, 2], [1, 1], ONE),
    Row("Train.budget", "train.budget={rollouts: 4}", spent, [4.0, 8.0], [4.0]),
    Row("Budget.rollouts", "train.budget.rollouts=4", spent, [4.0, 8.0], [4.0], ("train.budget.rollouts=5",)),
    # An action is <think><think><think>: 12 tokens a step.
    Row(
        "Budget.tokens",
        "train.budget.tokens=12",
        of_run(lambda seen: len(seen.steps())),
        2,
        1,
        (says("<think>" * 3), "environment.max_turns=1", "train.budget.tokens=13"),
    ),
    Row(
        "Budget.seconds",
        "train.budget.seconds=0.000001",
        of_run(lambda seen: len(seen.steps())),
        2,
        1,
        ("train.budget.seconds=1000",),
    ),
    Row("Train.epochs", "train.epochs=3", of_run(lambda seen: len(seen.optimizers[-1].moves)), 2, 6),
    # Adam's first step is the learning rate in each weight, and so is every step without memory.
    Row("Train.learning_rate", "train.learning_rate=0.02", moves, [0.01], [0.02], ONE),
    Row(
        "Train.warmup_steps",
        "train.warmup_steps=4",
        moves,
        [0.01, 0.01, 0.01],
        [0.0025, 0.005, 0.0075],
        ("train.steps=3", "train.betas=[0, 0]"),
    ),
    Row(
        "Train.critic_learning_rate",
        "train.critic_learning_rate=0.005",
        of_run(lambda seen: [o.moves for o in seen.optimizers]),
        [[0.001], [0.01]],
        [[0.005], [0.01]],
        CRITIC,
    ),
    # Gradients of 1 and -2: the first step is -0.01. Then m = (0.09 - 0.2) / 0.19, v = (0.999 + 4) / 1.999, and with
    # betas of a half m = (0.25 - 1) / 0.75, v = (0.5 + 4) / 1.5; the step is -0.01 m / sqrt(v).
    Row("Train.betas", "train.betas=[0.5, 0.5]", adam, [-0.01, 0.00366], [-0.01, 0.00577]),
    # The weight of 2 loses 0.01 * 0.5 of itself before each step: 0.01, and of the 1.98 that are left 0.0099.
    Row("Train.weight_decay", "train.weight_decay=0.5", adam, [-0.01, 0.00366], [-0.02, 0.00366 - 0.0099]),
    Row(
        "Train.max_grad_norm",
        "train.max_grad_norm=0.001",
        of_run(lambda seen: [o.norms for o in seen.optimizers]),
        [[0.002]] * 2,
        [[0.001]] * 2,
        (*CRITIC, "train.max_grad_norm=0.002"),
    ),
    # What a critic says, what it learns, and the update.
    Row("Train.tokens_per_batch", "train.tokens_per_batch=1", sequences, [4] * 3, [1] * 12, CRITIC),
    # How far the average went, as a part of how far the policy did.
    Row(
        "Train.ema",
        "train.ema=0.5",
        of_run(lambda seen: seen.noted["followed"]),
        [0.05],
        [0.5],
        (*ONE, "objective.terms=[clipped_pg, {type: kl, teacher: ema}]"),
    ),
    Row(
        "Train.precision",
        "train.precision=bf16",
        precise,
        [["float32"]] * 2,
        [["bfloat16"]] * 2,
        (*ONE, "objective.terms=[clipped_pg, kl]"),
    ),
    Row("Train.evaluate_every", "train.evaluate_every=2", judged, [0, 3], [0, 2, 3], THREE),
    Row("Train.checkpoint_every", "train.checkpoint_every=2", saved, [3], [2, 3], THREE),
    Row(
        "Train.keep_checkpoints",
        "train.keep_checkpoints=3",
        saved,
        [3, 4],
        [2, 3, 4],
        ("train.steps=4", "train.checkpoint_every=1"),
    ),
    Row(
        "Train.columns_every",
        "train.columns_every=2",
        of_run(lambda seen: seen.kept["columns"]),
        [1, 2, 3],
        [1, 3],
        THREE,
    ),
    # Half of a step's episodes search; of an evaluation's, the first of two.
    Row(
        "Train.max_outage_rate",
        "train.max_outage_rate=0.4",
        broken,
        "",
        "50% of 40%",
        (*SHUT, says(RIGHT, SEARCH), "evaluate.questions=1"),
    ),
    Row(
        "Train.max_outage_rate",
        "train.max_outage_rate=0.4",
        broken,
        "",
        "50% of 40%",
        (*SHUT, says(RIGHT, SEARCH, RIGHT, RIGHT)),
    ),
    Row("Train.max_outage_rate", "train.max_outage_rate=0.4", trouble, "", "50% of 40%", (*SHUT, says(RIGHT, SEARCH))),
    #
    Row("Sample.count", "data.train.sample.count=3", kept, "03", "023", SAMPLED),
    Row("Sample.seed", "data.train.sample.seed=1", kept, "03", "04", SAMPLED),
    Row("Split.part", "data.train.split.part=b", kept, "03", "124", PARTED),
    Row("Split.shares", "data.train.split.shares.a=9", kept, "03", "01234", PARTED),
    Row("Split.seed", "data.train.split.seed=1", kept, "03", "0124", PARTED),
    Row(
        "Evaluate.questions",
        "evaluate.questions=3",
        of_run(lambda seen: [len(seen.played[f"evaluate_{n}"]) for n in (0, 1)]),
        [2, 2],
        [3, 3],
        ONE,
    ),
    # The smallest sha256 of q0 to q4.
    Row(
        "Evaluate.pick",
        "evaluate.pick=hash",
        of_run(lambda seen: [g.question.id for g in seen.played["evaluate_0"]]),
        ["q0", "q1"],
        ["q0", "q4"],
        ONE,
    ),
    Row(
        "Evaluate.between",
        "evaluate.between=1",
        of_run(lambda seen: [len(seen.played[f"evaluate_{n}"]) for n in (0, 1, 2)]),
        [2, 2, 2],
        [1, 1, 2],
        ("train.evaluate_every=1",),
    ),
    # Two questions have seeds of their own, whether they are played together or not.
    Row(
        "Evaluate.batch",
        "evaluate.batch=1",
        of_run(lambda seen: [*map(len, seen.noted["seeds"]), len({s for seeds in seen.noted["seeds"] for s in seeds})]),
        [2, 4, 2, 6],
        [1, 1, 4, 1, 1, 6],
        ONE,
    ),
    Row(
        "Evaluate.greedy",
        "evaluate.greedy=true",
        of_run(lambda seen: seen.noted["greedy"]),
        [False, False, False],
        [True, False, True],
        ONE,
    ),
    Row("Evaluate.greedy", "evaluate.greedy=true", likeliest, False, True, REAL),
    #
    Row(
        "Monitors.gradients_every",
        "monitors.gradients_every=2",
        of_run(lambda seen: ["grad_norm/entropy" in step for step in seen.steps()]),
        [True, False, False],
        [True, False, True],
        ("train.steps=3", "objective.terms=[clipped_pg, entropy]"),
    ),
    Row("Monitors.labels_every", "monitors.labels_every=2", measured, [2, 0, 0], [2, 0, 2], HINTED),
    Row("Monitors.labels_groups", "monitors.labels_groups=1", measured, [2, 0, 0], [1, 0, 0], HINTED),
    Row("Monitors.collapse", "monitors.collapse=0.5", falls, [], [4], ("monitors.collapse=0.1",)),
    Row("Monitors.idle", "monitors.idle=2", idles, [3], [2], ("monitors.idle=3",)),
    Row("Monitors.label_effect", "monitors.label_effect=3", deafness, [2], [3], ("monitors.label_effect=2",)),
    Row("Monitors.dead", "monitors.dead=2", deadly, [1], [2]),
    Row("Monitors.window", "monitors.window=2", warned("searches", 0.0, 0.0, 0.0), [3], [2], ("monitors.window=3",)),
    limit("drift_mean", "drift_mean"),
    limit("drift_max", "drift_max"),
    limit("effective_share", "effective_share_last", least=True),
    limit("credited", "credited", least=True),
    limit("zero_credit", "zero/group_mean"),
    limit("rows", "kl/rows", least=True),
    limit("entropy_low", "entropy", least=True, relative=True),
    limit("entropy_high", "entropy", relative=True),
    limit("entropy_gap", "distill/entropy_gap", least=True),
    limit("gradient_norm", "gradient_norm", relative=True),
    limit("grad_ratio_low", "grad_ratio/kl", least=True),
    limit("grad_ratio_high", "grad_ratio/kl"),
    limit("homogeneous", "homogeneous"),
    limit("searches", "searches", least=True),
    limit("repeated_queries", "repeated_queries"),
    limit("empty_queries", "empty_queries"),
    limit("invalid", "invalid"),
    limit("model_tokens", "model_tokens", relative=True),
    limit("thought_low", "thought_tokens", least=True, relative=True),
    limit("thought_high", "thought_tokens", relative=True),
    limit("thought_repetition", "thought_repetition"),
    limit("outage", "outage"),
    limit("retries", "retrieval/retries"),
]


def test_another_seed_draws_everything_anew(spec: Path) -> None:
    one, two = (ran(load(spec, [*COUNT, f"seed={seed}"])) for seed in (0, 7))
    for run in (one, two):
        first, *steps, last = run.noted["seeds"]
        assert first == last, "an evaluation is the same each time"
        every = [seed for batch in (first, *steps) for seed in batch]
        assert len(every) == len(set(every)) == 2 + 2 * 4, "of each question, attempt and step"
        del run.noted["term_seeds"][:-2]  # those of the look at the longest hint
        assert len(set(run.noted["term_seeds"])) == 2
        assert len({g.question.id for n in (1, 2) for g in run.played[f"step_{n}"]}) == 4
    for what in ("seeds", "term_seeds"):
        drawn = [str(run.noted[what]) for run in (one, two)]
        assert not {*re.findall(r"\d+", drawn[0])} & {*re.findall(r"\d+", drawn[1])}


class Half(Processes):
    """One of two processes, which hears nothing of the other."""

    def __init__(self, index: int) -> None:
        super().__init__(Accelerator())
        self.index, self.count = index, 2

    def gather(self, value: T) -> list[T]:
        return [value]


@pytest.mark.parametrize("source", ["played", "stored, run: {folder}/runs/Rome/0"])
def test_processes_share_what_a_step_and_an_evaluation_play(spec: Path, source: str) -> None:
    where = source.replace("{folder}", str(spec.parent))
    experiment = load(spec, ["evaluate.questions=3", f"train.source={{type: {where}}}"])
    whole = {name: [g.question.id for g in groups] for name, groups in ran(experiment).played.items()}
    assert (len(whole["step_1"]), len(whole["evaluate_0"])) == (2, 3)
    for index in range(2):
        shutil.rmtree(experiment.folder)
        with quiet():
            trainer = Trainer(experiment, Half(index))
            trainer.evaluate(0)
            trainer.step(0)
            judged = [g.question.id for g in evaluate(experiment, Half(index)).groups]
        assert judged == whole["evaluate_0"][index::2]
        for name in ("step_1", "evaluate_0"):
            groups = read_groups(experiment.folder / "trajectories" / f"{name}.jsonl")
            assert [g.question.id for g in groups] == whole[name][index::2]


def sections() -> set[type[Settings]]:
    """Return what a spec is made of: its sections, what its families have in common, and the members that stand there
    where a spec says nothing. All others have tests of their own.
    """
    found, todo = set[type[Settings]](), [Experiment]
    while todo:
        section = todo.pop()
        if section not in found:
            found.add(section)
            for field in section.model_fields.values():
                for part in parts(field.annotation):
                    todo.append(part)
                    named = field.default if isinstance(field.default, str) else getattr(part, "default", "")
                    todo += [resolve(part, named)] if "family" in vars(part) and named else []
    return found


def parts(annotation: Any) -> set[type[Any]]:
    """Return the settings in an annotation."""
    if inner := get_args(annotation):
        return {part for each in inner for part in parts(each)}
    return {annotation} if isinstance(annotation, type) and issubclass(annotation, Settings) else set()


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    fields = {f"{s.__name__}.{name}" for s in sections() for name in s.model_fields if name in s.__annotations__}
    rows = {row.field for row in ROWS}
    assert fields == rows, f"without a row: {sorted(fields - rows)}; without a field: {sorted(rows - fields)}"
    assert len(fields) > 100


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)
def test_a_field_changes_what_it_says(spec: Path, row: Row) -> None:
    change = (row.change,) if isinstance(row.change, str) else row.change
    assert row.field.rpartition(".")[2] in " ".join(change)
    given, changed = ([o.replace("{folder}", str(spec.parent)) for o in part] for part in (row.given, change))
    before, after = row.watch(load(spec, given)), row.watch(load(spec, [*given, *changed]))
    assert (rounded(before), rounded(after)) == (rounded(row.before), rounded(row.after))
    assert rounded(before) != rounded(after)


def rounded(value: Any) -> Any:
    """Return what was seen with numbers of three digits."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value
