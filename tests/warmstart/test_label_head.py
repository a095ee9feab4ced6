"""A head that knows which label stands before a token, and copying that heeds it."""

import pytest
import torch
from pydantic import ValidationError

from sdsearch.errors import DataError
from sdsearch.warmstart.command import build
from sdsearch.warmstart.spec import Shape

LINES = ["Correct: Rome airport | city of Rome", "Incorrect: Oslo airport | Oslo city of what"]
TEXT = ["Earlier attempts:", *LINES, "Question: Which airport of the city? Rome Oslo"] * 50


def attention(labels: tuple[str, str] | None, text: str) -> tuple[list[str], torch.Tensor]:
    """Return the tokens of a text and the attention of an untrained policy's first two layers, [layer, head, S, S]."""
    torch.manual_seed(0)
    policy = build(Shape(vocabulary=600, labels=labels), TEXT)
    policy.model.set_attn_implementation("eager")
    tokens = policy.codec.encode(text)
    with torch.no_grad():
        found = policy.model(input_ids=torch.tensor([tokens]), output_attentions=True).attentions
    return policy.codec.tokenizer.convert_ids_to_tokens(list(tokens)), torch.cat(found[:2])


def test_a_head_finds_the_label_of_the_line_that_a_token_is_in() -> None:
    tokens, found = attention(("Correct", "Incorrect"), "\n".join([*LINES, *LINES]))
    labels = [i for i, token in enumerate(tokens) if token in ("Correct", "Incorrect")]
    assert len(labels) == 4
    for at in range(len(tokens)):
        if at - max(i for i in labels if i <= at) > 1:
            assert found[0, 1, at].argmax() == max(i for i in labels if i <= at)
            assert found[0, 1, at].max() > 0.8


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_marked_right_is_copied_rather(turned: bool) -> None:
    lines = ["Correct: Rome airport", "Incorrect: Rome city"]
    lines = [f"Incorrect{lines[0][7:]}", f"Correct{lines[1][9:]}"] if turned else lines

    def preferred(labels: tuple[str, str] | None) -> float:
        """Return by what factor a copying head, at a word of both lines, goes to the one that is marked right."""
        tokens, found = attention(labels, "\n".join(lines) + "\nWhich Rome")
        first, second = (i + 1 for i, token in enumerate(tokens[:-1]) if token == tokens[-1])
        right, wrong = (second, first) if turned else (first, second)
        return float(found[1, 0, -1, right] / found[1, 0, -1, wrong])

    assert preferred(("Correct", "Incorrect")) > 1.5 * preferred(None)


def test_it_needs_a_head_that_shares_its_keys_with_one_that_copies() -> None:
    with pytest.raises(ValidationError, match="shares its keys with one that copies"):
        Shape(labels=("Correct", "Incorrect"), induction_heads=0)
    with pytest.raises(ValidationError, match="shares its keys with one that copies"):
        Shape(labels=("Correct", "Incorrect"), kv_heads=None)


def test_labels_that_begin_alike_are_refused() -> None:
    with pytest.raises(DataError, match="labels Correct and Correctly begin with the same token"):
        build(Shape(vocabulary=600, labels=("Correct", "Correctly")), TEXT)
