"""The light tokenizer reads every published form of CLIP's tokenizer as transformers does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff.models import load_model
from streamdiff.models.load import TINY
from streamdiff.models.tokenizer import ClipTokenizer
from tests.models.toys import END, START, make_folder

PIECES = [
    "a", "cat", "The", "'s", "'LL", "n't", "1", "12", "½", "é", "e\u0301", "İ", "ß", "ﬁ", "日本", "ก็", "🎨",
    "<|ENDOFTEXT|>",
    " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u200b", "\u200d", "\ufe0f", "\ufeff", "\u202e", "\x00",
    "!", "!!", "?!", "_", "-", "\\", "(cat:1.3)", "<|", "|>", START, END, "</w>", "Ġ", "\ufffd", "\U000e0001",
]  # fmt: skip
FORMS = ["plain", "sd2 as published", "dictionaries", "decoder", "decoder and map", "fast", "fast only", "embedded"]


def token(content: str) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def written(path: Path, form: str) -> Path:
    """A tokenizer folder as one of the published models has it."""
    folder = make_folder(path, "sd2" if "sd2" in form else "sd15") / "tokenizer"
    config, special = folder / "tokenizer_config.json", folder / "special_tokens_map.json"
    told: dict[str, Any] = json.loads(config.read_text())
    if form == "sd2 as published":  # SD 2's two files contradict each other
        config.write_text(json.dumps(told | {"pad_token": END}))
        special.write_text(
            json.dumps(
                {"bos_token": token(START), "eos_token": token(END), "unk_token": token(END), "pad_token": "!"},
            )
        )
    if form == "dictionaries":
        tokens = {"bos_token": token(START), "eos_token": token(END), "unk_token": token(END), "pad_token": token("!")}
        special.write_text(json.dumps(tokens))
        config.write_text(json.dumps({k: v for k, v in told.items() if not k.endswith("_token")}))
    if form.startswith("decoder"):  # sd-turbo: written by transformers 4.3x, which lists the tokens and their ids
        vocabulary = json.loads((folder / "vocab.json").read_text())
        kinds = {"!": {"normalized": False}, START: {"normalized": True}, END: {"normalized": False}}
        decoder = {str(vocabulary[t]): token(t) | change | {"special": True} for t, change in kinds.items()}
        config.write_text(json.dumps(told | {"pad_token": "!", "added_tokens_decoder": decoder}))
        special.write_text(json.dumps({"pad_token": END}))  # it is not read any more
        if form == "decoder":
            special.unlink()
    if form in ("fast", "fast only"):
        from transformers import CLIPTokenizer

        CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
        if form == "fast only":
            (folder / "vocab.json").unlink()
            (folder / "merges.txt").unlink()
        assert (folder / "tokenizer.json").is_file()
    if form == "embedded":
        return TINY / "tokenizer"
    return folder


@pytest.fixture(scope="module", params=FORMS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ClipTokenizer, int]:
    from transformers import CLIPTokenizer

    if request.param == "embedded" and not (TINY / "model_index.json").is_file():
        pytest.skip("the embedded model's weights are not there")
    folder = written(tmp_path_factory.mktemp("tokenizer") / "m", request.param)
    theirs = CLIPTokenizer.from_pretrained(folder)
    length = min(theirs.model_max_length, 77)
    return theirs, ClipTokenizer(folder, length), length


def check(both: tuple[Any, ClipTokenizer, int], text: str) -> None:
    theirs, ours, length = both
    want = theirs(text, padding="max_length", max_length=length, truncation=True).input_ids
    assert ours(text).tolist() == [want]


def test_the_padding(both: tuple[Any, ClipTokenizer, int]) -> None:
    for text in ("", "a cat", "wow! a cat"):
        check(both, text)


@settings(max_examples=150, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_texts_of_odd_pieces(both: tuple[Any, ClipTokenizer, int], text: str) -> None:
    check(both, text)


@settings(max_examples=15, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES) | st.text(min_size=1, max_size=5), min_size=1).map("".join))
def test_ten_thousand_characters(both: tuple[Any, ClipTokenizer, int], text: str) -> None:
    check(both, (text * (10_000 // len(text) + 1))[:10_000])


def test_a_marker_in_capitals(tmp_path: Path) -> None:
    """It is text like any other, in the words that transformers cuts it into."""
    from transformers import CLIPTokenizer

    folder = written(tmp_path / "m", "plain")
    check((CLIPTokenizer.from_pretrained(folder), ClipTokenizer(folder, 77), 77), "a <|ENDOFTEXT|> b <|StartOfText|>")


def test_a_models_own_tokenizer(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    folder = make_folder(tmp_path / "sd2", "sd2")
    ids = load_model(folder).tokenize("a cat at night")
    want = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
        "a cat at night", padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    assert ids.dtype == want.dtype and ids.tolist() == want.tolist()
