"""What became of a warm start, on held-out questions: where it starts, and what it makes of a hindsight block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from sdsearch.contracts.agent import AgentSession, Reply
from sdsearch.contracts.environment import EnvFactory
from sdsearch.contracts.hint import Hint, Hints, hint_at
from sdsearch.core.answers import correct
from sdsearch.core.question import Question
from sdsearch.core.statistics import Estimate
from sdsearch.core.statistics import mean as interval
from sdsearch.core.trajectory import Group, Segment
from sdsearch.errors import DataError
from sdsearch.hinting.flip import Numbers, Queries
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import FIGURES, mean

ROWS = 96
"""Episodes that are played at once."""


class Hinted:
    """A session that is shown a hint before each prompt, as a teacher is: what does the hint make of the policy?"""

    def __init__(self, session: AgentSession, hints: Sequence[str]) -> None:
        """Give row i the hint `hints[i]`."""
        self.session, self.hints = session, hints
        self.begun: set[int] = set()

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.begun = set()
        self.session.reset(questions, seeds, greedy)

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`."""
        shown = [t if r in self.begun else self.hints[r] + t for r, t in zip(rows, texts, strict=True)]
        self.begun.update(rows)
        return self.session.act(rows, shown)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes, whose prompts hold their hints already."""
        self.begun.update(rows)
        return self.session.resume(rows, pasts)


class Judge:
    """Plays held-out questions with a policy, and plays and scores them again behind blocks."""

    def __init__(
        self,
        env_factory: EnvFactory,
        session: AgentSession,
        score: Callable[[Sequence[Group], Hints | None], Numbers],
        hint: Hint,
        group: int,
        seed: int,
    ) -> None:
        """Play `group` attempts each; `score` gives the log-probabilities of recorded tokens behind hints."""
        self.env_factory, self.session, self.score = env_factory, session, score
        self.hint, self.group, self.seed = hint, group, seed

    def figures(self, questions: Sequence[Question]) -> dict[str, Estimate]:
        """Return the figures of the model card, each with its interval over questions.

        Raises `DataError` when no group has right and wrong attempts, or none has fewer right ones than wrong ones.
        """
        groups = self.play(questions, self.seed)
        mixed = [g for g in groups if len({correct(t) for t in g.kept}) > 1]
        few = [part for part in map(minority, mixed) if part]
        if not few:
            raise DataError(
                f"of {len(groups)} groups {len(mixed)} have right and wrong attempts, and none fewer right ones: "
                "the policy is too good or too bad to be judged"
            )
        found = {"mixed": interval([float(len({correct(t) for t in g.kept}) > 1) for g in groups])}
        found |= {name: interval([mean([g])[name] for g in groups]) for name in FIGURES if name in mean(groups)}
        found |= dict(self.heard(mixed))
        asked = [g.question for g in few]
        hints = {"true": self.hint, "flipped": self.hint.twins()["flipped"], "foreign": Placebo(hint=self.hint)}
        blocks = {name: [hint_at(of[0], 0) or "" for of in hint.texts(few, self.seed)] for name, hint in hints.items()}
        after = {"none": self.exact(self.play(asked, self.seed + 1))}
        after |= {name: self.exact(self.play(asked, self.seed + 1, texts)) for name, texts in blocks.items()}
        found |= {f"exact_match_{name}": interval(values) for name, values in after.items()}
        for name, one, other in (("gain", "true", "none"), ("loss", "true", "flipped"), ("shift", "foreign", "none")):
            found[name] = interval([a - b for a, b in zip(after[one], after[other], strict=True)])
        return found

    def heard(self, groups: Sequence[Group]) -> Iterator[tuple[str, Estimate]]:
        """Yield the label effects with the own attempt in the block and without it, per query and per token."""
        queries = Queries(groups)
        for name, hint in {"": self.hint, "_without_own": self.hint.twins()["others"]}.items():
            turned = hint.twins()["flipped"]
            true, false = (
                self.score(groups, [t for of in each.texts(groups, self.seed) for t in of]) for each in (hint, turned)
            )
            yield f"label_effect{name}", queries.label_effect(true, false)
            yield f"label_effect{name}_per_token", queries.label_effect(true, false, by_token=True)

    def play(self, questions: Sequence[Question], seed: int, blocks: Sequence[str] | None = None) -> list[Group]:
        """Play all questions, each behind its block if there are any."""
        groups: list[Group] = []
        size = max(1, ROWS // self.group)
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            session = self.session
            if blocks is not None:
                session = Hinted(session, [b for b in blocks[start : start + size] for _ in range(self.group)])
            groups += collect(self.env_factory, session, part, self.group, seed)
        return groups

    @staticmethod
    def exact(groups: Sequence[Group]) -> list[float]:
        """Return the exact match of each group."""
        return [mean([group])["exact_match"] for group in groups]


def minority(group: Group) -> Group | None:
    """Return a group with fewer right attempts than wrong ones, made by leaving right ones out; None: it cannot be."""
    right = [t for t in group.kept if correct(t)]
    wrong = [t for t in group.kept if not correct(t)]
    few = min(len(right), len(wrong) - 1)
    if few < 1:
        return None
    shown = [*right[:few], *wrong]
    Random(group.question.id).shuffle(shown)
    return Group(group.question, tuple(shown))
