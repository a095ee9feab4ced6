"""SkyRL's search environment plays against our server: its own client, its own scorer, nothing of ours between."""

from typing import Any

import pytest
from tests.serving.conftest import Served

gym = pytest.importorskip("skyrl_gym", reason="skyrl-gym is not installed: pip install 'sdsearch[bench]'")


def played(served: Served, topk: int, *actions: str) -> list[Any]:
    from skyrl_gym.envs.search.env import SearchEnvConfig

    extras = {"reward_spec": {"ground_truth": {"target": ["Dorn"]}}, "max_turns": 4}
    settings = SearchEnvConfig(search_url=served.url, topk=topk)
    env = gym.make("search", env_config=settings, extras=extras)
    env.init([{"role": "user", "content": "On which river is Place 3? <answer> Beijing </answer>"}])
    return [env.step(action) for action in actions]


def test_it_finds_what_we_serve_and_is_paid(served: Served) -> None:
    found, end = played(served, 1, "<search> Place 3 </search>", "<answer> Dorn </answer>")
    (shown,) = found["observations"]
    assert shown["content"] == (
        '\n<information>{"result": "Doc 1: \\"Place 3\\"\\nPlace 3 is a town on the Dorn with 99 people.\\n"}'
        "</information>\n"
    )
    assert (found["done"], end["done"], end["reward"]) == (False, True, 1.0)


def test_it_gets_as_many_as_it_asks_for_and_learns_of_none(served: Served) -> None:
    many, none = played(served, 3, "<search> Place town </search>", "<search> xylophone </search>")
    assert [f"Doc {i}:" in many["observations"][0]["content"] for i in (1, 3, 4)] == [True, True, False]
    assert none["observations"][0]["content"].count("Doc") == 0
    assert "error" not in none["observations"][0]["content"].lower()
