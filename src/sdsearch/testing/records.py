"""Records in each layout in which people keep questions, ready for JSON: invented ones, and a set made of the atlas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

from sdsearch.core.question import Passage
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions

PARAGRAPHS = {
    "Ash Bridge": ["Ash Bridge was built by Ida Oak.", " It crosses the Elm."],
    "Ida Oak": ["Ida Oak was an engineer.", " She was born in Larch."],
    "Fir Lane": ["Fir Lane is a street."],
}
"""Title and sentences; the first two suffice."""


def hotpotqa(i: int) -> dict[str, Any]:
    """Return a record of HotpotQA as its authors publish it."""
    return {
        "_id": f"h{i}",
        "question": f"Where was the builder of Ash Bridge {i} born?",
        "answer": "Larch" if i % 2 else "yes",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": [["Ash Bridge", 0], ["Ida Oak", 1]],
        "context": [[title, sentences] for title, sentences in PARAGRAPHS.items()],
    }


def hotpotqa_columns(i: int) -> dict[str, Any]:
    """Return a record of HotpotQA as Hugging Face has it."""
    record = hotpotqa(i)
    facts, context = record["supporting_facts"], record["context"]
    return {
        "id": record.pop("_id"),
        **record,
        "supporting_facts": {"title": [t for t, _ in facts], "sent_id": [s for _, s in facts]},
        "context": {"title": [t for t, _ in context], "sentences": [s for _, s in context]},
    }


def two_wiki(i: int) -> dict[str, Any]:
    """Return a record of 2WikiMultihopQA."""
    triples = [["Ash Bridge", "builder", "Ida Oak"], ["Ida Oak", "place of birth", "Larch"]]
    return {**hotpotqa(i), "type": "compositional", "evidences": triples, "answer_id": "Q1", "evidences_id": []}


def musique(i: int) -> dict[str, Any]:
    """Return a record of MuSiQue."""
    return {
        "id": f"2hop__{i}_{i}",
        "question": f"Where was the builder of Ash Bridge {i} born?",
        "answer": "Larch",
        "answer_aliases": ["Larch Town", "Larch"],
        "answerable": True,
        "paragraphs": [
            {"idx": n, "title": title, "paragraph_text": " ".join(s.strip() for s in text), "is_supporting": n < 2}
            for n, (title, text) in enumerate(PARAGRAPHS.items())
        ],
        "question_decomposition": [
            {"id": 1, "question": "Ash Bridge >> builder", "answer": "Ida Oak", "paragraph_support_idx": 0},
            {"id": 2, "question": "Where was #1 born?", "answer": "Larch", "paragraph_support_idx": 1},
        ],
    }


def nq_open(i: int) -> dict[str, Any]:
    """Return a record of NQ-open."""
    return {"question": f"who built bridge {i}", "answer": ["Ida Oak", "Oak"]}


def triviaqa(i: int) -> dict[str, Any]:
    """Return a record of TriviaQA as its authors publish it."""
    answer = {"Aliases": ["Ida Oak", "Oak"], "NormalizedAliases": ["ida oak"], "Value": "Ida Oak", "Type": "Person"}
    return {"QuestionId": f"tc_{i}", "Question": f"Who built bridge {i}?", "Answer": answer, "SearchResults": []}


def triviaqa_columns(i: int) -> dict[str, Any]:
    """Return a record of TriviaQA as Hugging Face has it."""
    answer = {"value": "Ida Oak", "aliases": ["Ida Oak", "Oak"], "normalized_aliases": ["ida oak"]}
    return {"question_id": f"tc_{i}", "question": f"Who built bridge {i}?", "answer": answer, "question_source": ""}


def popqa(i: int) -> dict[str, Any]:
    """Return a record of PopQA."""
    about = {"subj": "bridge", "prop": "builder", "obj": "Ida Oak", "s_pop": 9}
    return {"id": i, **about, "question": f"Who built bridge {i}?", "possible_answers": '["Ida Oak", "Oak"]'}


def bamboogle(i: int) -> dict[str, Any]:
    """Return a record of Bamboogle."""
    return {"Question": f"Who built the bridge over river {i}?", "Answer": "Ida Oak"}


def flashrag(i: int) -> dict[str, Any]:
    """Return a record of FlashRAG."""
    return {"id": f"test_{i}", "question": f"who built bridge {i}", "golden_answers": ["Ida Oak", "Oak"]}


def flashrag_hotpotqa(i: int) -> dict[str, Any]:
    """Return a record of FlashRAG's HotpotQA."""
    about = {key: value for key, value in hotpotqa_columns(i).items() if key not in ("id", "question", "answer")}
    return {**flashrag(i), "metadata": about}


def flashrag_two_wiki(i: int) -> dict[str, Any]:
    """Return a record of FlashRAG's 2WikiMultihopQA."""
    about = flashrag_hotpotqa(i)["metadata"]
    about["context"]["content"] = about["context"].pop("sentences")
    return {**flashrag(i), "metadata": {**about, "type": "compositional"}}


def flashrag_musique(i: int) -> dict[str, Any]:
    """Return a record of FlashRAG's MuSiQue, which holds the paragraphs that suffice and no others."""
    whole = musique(i)
    steps = [
        {**step, "support_paragraph": paragraph}
        for step, paragraph in zip(whole["question_decomposition"], whole["paragraphs"], strict=False)
    ]
    return {**flashrag(i), "metadata": {"answerable": True, "question_decomposition": steps}}


def ultrarag(i: int) -> dict[str, Any]:
    """Return a record of UltraRAG."""
    return {**flashrag(i), "id": i, "meta_data": {}}


def search_r1(i: int) -> dict[str, Any]:
    """Return a record of Search-R1."""
    return {
        **flashrag(i),
        "data_source": "nq",
        "prompt": [{"role": "user", "content": f"Answer the question. Question: who built bridge {i}\n"}],
        "ability": "fact-reasoning",
        "reward_model": {"ground_truth": {"target": ["Ida Oak", "Oak"]}, "style": "rule"},
        "extra_info": {"index": i, "split": "train"},
    }


def deep_researcher(i: int) -> dict[str, Any]:
    """Return a record as DeepResearcher and IGPO have it: Search-R1's, the answers in one text, no question."""
    record = search_r1(i)
    truth = {"ground_truth": "Ida Oak<|answer_split|>Oak", "style": "rule"}
    return {key: record[key] for key in ("data_source", "prompt", "ability")} | {"reward_model": truth}


LAYOUTS = {
    "hotpotqa": (hotpotqa, hotpotqa_columns),
    "two_wiki": (two_wiki,),
    "musique": (musique,),
    "nq_open": (nq_open,),
    "triviaqa": (triviaqa, triviaqa_columns),
    "popqa": (popqa,),
    "bamboogle": (bamboogle,),
    "flashrag": (flashrag, flashrag_hotpotqa, flashrag_two_wiki, flashrag_musique, ultrarag),
    "search_r1": (search_r1, deep_researcher),
}
"""What makes the records of each layout, by the name of the layout in a spec."""


def multi_hop(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return `count` questions of two and three hops as HotpotQA is published, each with ten paragraphs.

    A paragraph holds all that the atlas tells about one thing, a sentence a fact, and is the same wherever it stands.
    Beside those that a question needs, by lot, stand paragraphs that others need. Raises `ValueError` for more
    questions than there are.
    """
    about, place = defaultdict[str, list[Passage]](list), dict[str, tuple[str, int]]()
    for passage in AtlasPassages().passages():
        key = passage.id.rpartition("/")[0]
        place[passage.id] = (key, len(about[key]))
        about[key].append(passage)
    questions = AtlasQuestions(split="test", kinds=["bridge", "comparison"], hops=[2, 3], seed=seed).questions()
    if count > len(questions):
        raise ValueError(f"got a count of {count}, expected at most {len(questions)}")
    needed = sorted({place[i][0] for q in questions for i in q.gold})
    records = []
    for question in questions[:count]:
        dice = Random(f"{seed}/{question.id}")
        gold = [place[i] for i in question.gold]
        shown = {about[key][0].title: key for key, _ in gold}
        for key in dice.sample(needed, 30):
            if len(shown) < 10:
                shown.setdefault(about[key][0].title, key)
        titles = dice.sample(sorted(shown), len(shown))
        records.append(
            {
                "_id": question.id,
                "question": question.text,
                "answer": question.answers[0],
                "type": question.kind,
                "level": "hard",
                "supporting_facts": [[about[key][0].title, fact] for key, fact in gold],
                "context": [[title, sentences(about[shown[title]])] for title in titles],
            }
        )
    return records


def sentences(passages: Sequence[Passage]) -> list[str]:
    """Return what passages say, as HotpotQA has it: every sentence but the first begins with a space."""
    return [" " * (i > 0) + passage.text for i, passage in enumerate(passages)]
