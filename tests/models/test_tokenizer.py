"""The light tokenizer is transformers' CLIPTokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff import ModelError
from streamdiff.models.load import TINY
from streamdiff.models.tokenizer import ClipTokenizer
from tests.models.toys import make_folder

TEXTS = [
    "", " ", "a cat", "The CAT's oil   painting\n\tat night", "don't we'll I'm", "naïve café ÀÉ",
    "日本語 ukiyo-e 浮世絵",
    "🎨🖌️ art!!! 123 4th",
    "x" * 10_000, "word " * 2_000, "<|endoftext|> after", "\x00\x7f\u200b", "½ ﬁ Ⅷ e\u0301",
]  # fmt: skip


def pairs(folder: Path) -> tuple[Any, ClipTokenizer, int]:
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(folder)
    length = min(theirs.model_max_length, 77)
    return theirs, ClipTokenizer(folder, length), length


def equal(theirs: Any, ours: ClipTokenizer, length: int, text: str) -> bool:
    want = theirs(text, padding="max_length", max_length=length, truncation=True).input_ids
    return ours(text).tolist() == [want]


@pytest.fixture(scope="module", params=["sd15", "sd2", "tiny"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ClipTokenizer, int]:
    if request.param == "tiny":
        if not (TINY / "tokenizer").is_dir():
            pytest.skip("the embedded model's weights are not there")
        return pairs(TINY / "tokenizer")
    return pairs(make_folder(tmp_path_factory.mktemp("m") / request.param, request.param) / "tokenizer")


@pytest.mark.parametrize("text", TEXTS)
def test_known_texts(both: tuple[Any, ClipTokenizer, int], text: str) -> None:
    assert equal(*both, text)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=120))
def test_any_text(both: tuple[Any, ClipTokenizer, int], text: str) -> None:
    assert equal(*both, text)


def test_text_that_no_encoding_can_carry_is_not_fatal(both: tuple[Any, ClipTokenizer, int]) -> None:
    assert both[1]("broken \ud800 terminal").shape == (1, both[2])


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        ClipTokenizer(tmp_path, 77)
