# ruff: noqa: RUF001 (look-alike characters are what is tested)
import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.core.safe_text import neutralise, plain

NAMES = ("think", "search", "information", "answer")
LEFT, RIGHT = "<‹＜﹤〈⟨〈˂❮", ">›＞﹥〉⟩〉˃❯"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u034f\U000e0041"


def looks_like_a_tag(text: str) -> bool:
    """Another way to find tags than the one under test: fold all disguises away, then look for plain tags."""
    seen = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn", "Cc"))
    seen = seen.translate({ord(a): "<" for a in LEFT} | {ord(b): ">" for b in RIGHT} | {ord("⁄"): "/"})
    seen = unicodedata.normalize("NFKC", seen).casefold().replace("&lt;", "<").replace("&gt;", ">")
    return re.search(r"<[\s/]*(think|search|information|answer)\b[^<>]*>", seen) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<search>", "[search]"),
        ("</information>", "[/information]"),
        ("< / Answer >", "[/answer]"),
        ("<THINK>", "[think]"),
        ('<search lang="en">', '[search lang="en">'),
        ("<se\u200barch\u2060>", "[search]"),
        ("‹search›", "[search]"),
        ("＜／ｓｅａｒｃｈ＞", "[/search]"),
        ("<𝐚𝓃𝔰𝔴𝕖𝖗>", "[answer]"),
        ("<ſearch>", "[search]"),
        ("&lt;/answer&gt;", "[/answer]"),
        ("<<search>search>", "<[search]search>"),
        ("<search", "[search"),
        ("<|im_end|>", "[|im_end|>"),
        ("<｜end▁of▁sentence｜>", "[|end▁of▁sentence｜>"),
    ],
)
def test_a_tag_loses_its_bracket_in_every_disguise(text: str, expected: str) -> None:
    assert neutralise(text, NAMES) == expected


@pytest.mark.parametrize(
    "text", ["a < b > c", "x<y", "<b>bold</b>", "search and answer", "le «think tank»", "5 < 7 | 8", ""]
)
def test_what_is_no_tag_stays(text: str) -> None:
    assert neutralise(text, NAMES) == text


def test_text_becomes_one_line_without_control_characters() -> None:
    assert plain(" a\n\nb\u2028c\x85d\te\x00f\x1b[0m\x9bg\ud800h ") == "a b c d ef[0mgh"
    assert plain("می\u200cخواهم") == "می\u200cخواهم"


pieces = st.one_of(
    st.sampled_from([*LEFT, *RIGHT, *INVISIBLE, "/", "⁄", " ", "\n", "\x00", "&lt;", "&gt;", "|"]),
    st.sampled_from([*NAMES, *(n.upper() for n in NAMES), "ｓｅａｒｃｈ", "𝖺nswer", "se", "arch", "th", "ink"]),
    st.text(max_size=3),
)


@given(st.lists(pieces, max_size=30).map("".join))
def test_nothing_that_looks_like_a_tag_is_left(text: str) -> None:
    done = neutralise(plain(text), NAMES)
    assert not looks_like_a_tag(done)
    assert neutralise(done, NAMES) == done
    assert plain(done) == done


@given(
    st.sampled_from(LEFT),
    st.sampled_from(RIGHT),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["", *INVISIBLE]), min_size=14, max_size=14),
    st.sampled_from(["", "/", " / ", "\n", "\u200b/"]),
    st.booleans(),
)
def test_each_disguised_tag_is_seen_and_disarmed(
    left: str, right: str, name: str, gaps: list[str], before: str, upper: bool
) -> None:
    letters = name.upper() if upper else name
    tag = left + before + "".join(a + b for a, b in zip(gaps, letters, strict=False)) + gaps[-1] + right
    assert looks_like_a_tag(tag)
    assert neutralise(plain(tag), NAMES) == f"[{'/' if '/' in before else ''}{name}]"


@pytest.mark.parametrize(
    "unit",
    ["<", "< ", "<\u200b", "</", "<s\u200b", "<search", "<search>", "<search \u200b", "&lt;", "\u200b", "< / / "],
)
def test_a_long_text_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = "<" + unit * (size // len(unit))
        start = time.perf_counter()
        neutralise(plain(text), NAMES)
        neutralise(text, NAMES)
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(300_000) < 5
