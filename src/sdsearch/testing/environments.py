"""The contract of environments, as a function to call on one of your own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from sdsearch.contracts.environment import FINAL, EnvFactory, Environment, TextVectorEnv
from sdsearch.core.question import Question, seeded
from sdsearch.core.trajectory import Role, Segment, Trajectory
from sdsearch.errors import ComponentError
from sdsearch.rollout.collect import begin
from sdsearch.rollout.driver import final, shaped
from sdsearch.testing.examples import example_questions

ROWS = 4
"""Episodes that are played at once."""


class Moment(NamedTuple):
    """One turn of an episode as the outside sees it."""

    action: str
    shown: str
    reward: float
    over: tuple[bool, bool]


class Played(NamedTuple):
    """An episode played to its end."""

    prompt: str
    moments: list[Moment]
    states: list[str]
    """What `save` returned before each turn, in JSON."""
    record: Mapping[str, Any]
    """What its info said at the end."""


def check_environment(environment: Environment, questions: Sequence[Question] | None = None) -> None:
    """Check that episodes are whole, independent of one another, paid once, and can be saved and gone on with.

    They are about `questions` (the example questions by default), or begin from seeds where the environment has some.
    Actions are searches, answers and nonsense as its grammar writes them.
    """
    assert TypeAdapter(Environment).validate_python(environment.model_dump()) == environment, (
        "its settings do not read back"
    )
    every = seeded(environment.seeds) if environment.seeds else questions or example_questions()
    asked, env_factory = [every[i % len(every)] for i in range(ROWS)], environment.open()
    scripts = [_script(environment, row) for row in range(ROWS)]
    played = _play(env_factory, asked, scripts)
    for row, episode in enumerate(played):
        _check_record(episode, row)
        assert len(episode.moments) <= environment.max_turns, (
            f"got {len(episode.moments)} actions in episode {row}, expected an end after {environment.max_turns}"
        )
    _same(_play(env_factory, asked, scripts), played, "played again with the same actions")
    others = [scripts[0], *(script[::-1] for script in scripts[1:])]
    _same(_play(env_factory, asked, others)[:1], played[:1], "beside episodes that act otherwise")
    for row, (question, script) in enumerate(zip(asked, scripts, strict=True)):
        _same(_play(env_factory, [question], [script]), [played[row]], "alone")
        _check_states(env_factory, asked[row - 1], question, played[row])
    _check_end(env_factory, asked)


def _script(environment: Environment, row: int) -> list[str]:
    """Return more actions than an episode has turns, another mixture for each row; all end with answers."""
    write, turns = environment.grammar.write, environment.max_turns
    kinds = [write("search", "capital of France"), "I do not know.", write("search", str(row)), write("answer", "5")]
    return [kinds[row % 4], *(kinds[(row + i) % 3] for i in range(turns)), *[kinds[3]] * turns]


def _play(env_factory: EnvFactory, asked: Sequence[Question], scripts: Sequence[Sequence[str]]) -> list[Played]:
    env, texts = _begun(env_factory, asked)
    moments: list[list[Moment]] = [[] for _ in asked]
    states: list[list[str]] = [[] for _ in asked]
    records: dict[int, Mapping[str, Any]] = {}
    for turn in range(max(map(len, scripts))):
        live = [row for row in range(len(asked)) if row not in records]
        for row in live:
            states[row].append(json.dumps(env.save(row)))
        actions = [script[turn] for script in scripts]
        shown, rewards, terminated, truncated, infos = _step(env, actions)
        for row in range(len(asked)):
            moment = Moment(
                actions[row], shown[row], float(rewards[row]), (bool(terminated[row]), bool(truncated[row]))
            )
            if row in live:
                moments[row].append(moment)
                if any(moment.over):
                    records[row] = _final(infos, row)
                    assert moment.shown == "", f"got {moment.shown!r:.80} at the end of episode {row}, expected ''"
            else:
                assert (moment.shown, moment.reward) == ("", 0.0), (
                    f"got {moment.shown!r:.80} and the reward {moment.reward} from episode {row}, which has ended: "
                    "expected '' and 0"
                )
                assert moment.over == moments[row][-1].over, f"got {moment.over} from episode {row}, which has ended"
    assert len(records) == len(asked), f"got no end of the episodes {sorted(set(range(len(asked))) - set(records))}"
    return [Played(texts[row], moments[row], states[row], records[row]) for row in range(len(asked))]


def _begun(env_factory: EnvFactory, asked: Sequence[Question]) -> tuple[TextVectorEnv, Sequence[str]]:
    try:
        env, texts, _ = begin(env_factory, asked)
    except ComponentError as error:
        raise AssertionError(str(error)) from error
    return env, texts


def _step(env: TextVectorEnv, actions: Sequence[str]) -> Any:
    try:
        given = shaped(env.step(actions), len(actions))
    except ComponentError as error:
        raise AssertionError(str(error)) from error
    return given


def _final(infos: Mapping[str, Any], row: int) -> Mapping[str, Any]:
    try:
        return final(infos, row)
    except ComponentError as error:
        raise AssertionError(str(error)) from error


def _check_record(episode: Played, row: int) -> None:
    record, count = episode.record, len(episode.moments)
    turns = list(record["turns"])
    assert len(turns) == count, f"got {len(turns)} turns of the {count} actions in episode {row}, expected one for each"
    json.dumps([[asdict(turn) for turn in turns], *(record[key] for key in ("stop_reason", "outage"))])


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _same(got: Sequence[Played], expected: Sequence[Played], when: str) -> None:
    for row, (one, two) in enumerate(zip(got, expected, strict=True)):
        assert (one.prompt, one.moments) == (two.prompt, two.moments), (
            f"got {one.prompt!r:.80} and {one.moments} of episode {row} {when}, expected {two.prompt!r:.80} and "
            f"{two.moments}"
        )
        for key in FINAL:
            assert _plain(one.record[key]) == _plain(two.record[key]), (
                f"got the {key} {one.record[key]!r:.80} of episode {row} {when}, expected {two.record[key]!r:.80}"
            )


def _check_states(env_factory: EnvFactory, other: Question, question: Question, played: Played) -> None:
    """Go on from every saved state in the place of another episode; and find the states from the record alone."""
    shown = [played.prompt, *(moment.shown for moment in played.moments)]
    for turn, state in enumerate(played.states[: len(played.moments)]):
        env, _ = _begun(env_factory, [other])
        seen = env.restore(0, json.loads(state))
        assert seen == shown[turn], f"got {seen!r:.80} when restored before turn {turn}, expected {shown[turn]!r:.80}"
        for moment in played.moments[turn:]:
            text, reward, terminated, truncated, infos = _step(env, [moment.action])
            got = Moment(moment.action, text[0], float(reward[0]), (bool(terminated[0]), bool(truncated[0])))
            assert got == moment, f"got {got} after a restore before turn {turn}, expected {moment}"
        turns = list(_final(infos, 0)["turns"])
        assert turns == list(played.record["turns"]), f"got the turns {turns!r:.80} after a restore before turn {turn}"
    segments: list[Segment] = []
    for text, moment in zip(shown, played.moments, strict=False):
        role: Role = "observation" if segments else "prompt"
        segments += [Segment(role, text), Segment("model", moment.action)]
    record = played.record
    trajectory = Trajectory(question, tuple(segments), tuple(record["turns"]), record["stop_reason"], 0.0)
    for turn in range(len(played.moments)):
        try:
            found = env_factory.state_at(trajectory, turn)
        except ComponentError:
            return  # it does not say that it can
        assert json.dumps(found) == played.states[turn], (
            f"got {found!r:.200} from `state_at` before turn {turn}, expected what `save` said then, "
            f"{played.states[turn]:.200}"
        )


def _check_end(env_factory: EnvFactory, asked: Sequence[Question]) -> None:
    env, _ = _begun(env_factory, asked)
    env.end(1, "context_full")
    state = json.dumps(env.save(1))
    _, _, terminated, truncated, infos = _step(env, [""] * len(asked))
    assert terminated[1] or truncated[1], "got no end of an episode in the step after `end`, expected it then"
    record = _final(infos, 1)
    assert record["stop_reason"] == "context_full", f"got {record['stop_reason']!r}, expected the reason given to `end`"
    assert len(record["turns"]) == 0, f"got {len(record['turns'])} turns of an episode without an action, expected none"
    other, _ = _begun(env_factory, [asked[0]])
    other.restore(0, json.loads(state))
    _, _, terminated, truncated, infos = _step(other, [""])
    again = _final(infos, 0)["stop_reason"] if terminated[0] or truncated[0] else "no end"
    assert again == "context_full", f"got {again!r} when saved between `end` and the step that reports it"
