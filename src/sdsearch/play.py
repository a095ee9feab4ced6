"""Be the agent: play a spec's questions at the terminal, and see afterwards how they could have been answered."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

from rich.console import Console

from sdsearch.agents.human import HELP, HumanSession, say
from sdsearch.core.question import Passage
from sdsearch.core.safe_text import plain
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import Experiment


def play(
    experiment: Experiment, split: Literal["train", "test"], seed: int, count: int | None, console: Console
) -> list[Group]:
    """Play `count` questions (None: all), drawn by `seed`, until they or the input end; return what was played.

    The environment is the one that the spec's agent acts in; the agent itself is not loaded.
    """
    questions = experiment.questions(split)
    chosen = random.Random(seed).sample(range(len(questions)), min(count or len(questions), len(questions)))
    settings = experiment.environment
    env_factory = settings.open()
    corpus = getattr(getattr(settings, "retriever", None), "corpus", None)
    passages = {p.id: p for p in corpus.passages()} if corpus else {}
    say(console, f"{experiment.name}: {len(chosen)} questions of `{split}`, seed {seed}", "bold")
    say(console, f"{HELP}. At most {settings.max_turns} actions a question; the last one has to answer. Ctrl-D leaves.")
    session, played = HumanSession(settings.grammar, console), list[Group]()
    try:
        for number, index in enumerate(chosen, 1):
            say(console, f"\nquestion {number} of {len(chosen)}", "bold")
            played += collect(env_factory, session, [questions[index]], 1, seed)
            review(played[-1].trajectories[0], passages, console)
    except KeyboardInterrupt:
        say(console, "")
    if played:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in mean(played).items())
        say(console, f"\n{len(played)} played: {figures}", "bold")
    else:
        say(console, "no question was played to its end")
    return played


def review(played: Trajectory, passages: Mapping[str, Passage], console: Console) -> None:
    """Show what an episode was worth, what it found and missed, and the way of the question's decomposition."""
    question, figures = played.question, played.metrics
    # The id comes last: in some data it gives the way away.
    say(console, f"\n{played.stop_reason}, actions: {len(played.turns)}, question {plain(question.id)}", "bold")
    if played.lost:
        say(console, f"the retriever could not be reached: {played.outage}", "red")
    named = {"f1": "F1", "exact_match": "exact match"}
    score = ", ".join(
        [f"reward {played.reward:.3f}", *(f"{n} {figures[f]:.3f}" for f, n in named.items() if f in figures)]
    )
    say(console, score, "green" if played.reward > 0 else "red")
    say(console, f"your answer: {'none' if played.answer is None else plain(played.answer)}")
    say(console, f"gold answers: {' | '.join(map(plain, question.answers))}")
    hits = {hit for turn in played.turns for hit in turn.hits}
    say(console, "gold passages:" if question.gold else "gold passages: the data names none")
    for name in question.gold:
        passage = passages.get(name)
        text = f": {plain(passage.title)}: {plain(passage.text)}" if passage else ""
        say(
            console,
            f"  {'found' if name in hits else 'missed'} {plain(name)}{text}",
            "green" if name in hits else "red",
        )
    say(console, "the oracle's way:" if question.hops else "the oracle's way: the data has no decomposition")
    for hop in question.hops:
        say(console, f"  s {plain(hop.query)} -> {plain(hop.answer)} (in {plain(hop.passage)})")
    if question.hops:
        say(console, f"  a {plain(question.answers[0])}")
