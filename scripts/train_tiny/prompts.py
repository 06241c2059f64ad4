"""Random wordings of prompts, and the corpus on which the tokenizer's merges are learned."""

from __future__ import annotations

import string
from collections.abc import Sequence
from random import Random

from .data import PHOTO
from .moods import MOODS, Mood
from .styles import Style

SUBJECTS = tuple(
    """a man;a woman;a girl;a boy;a child;a face;a portrait;people;a smiling woman;a bearded man;a man with glasses;
    a woman with long hair;an old man;a group of friends;a couple;me;my face;a person in a room;a person at a desk;
    a dog;a cat;a horse;a bird;a lion;a fish;a tree;a forest;a mountain;mountains;a lake;the sea;a beach;a river;
    a waterfall;a sunset;the night sky;clouds;snow;a garden;flowers;a rose;a city;a street;a house;a castle;a church;
    a bridge;a tower;a skyline;a car;a bicycle;a train;a ship;a boat;an airplane;a road;a market;a kitchen;a table;
    a cup of coffee;fruit;apples;bananas;bread;pizza;a book;books;a bottle;a lamp;a chair;a window;a door;a room;
    an office;a computer;a phone;a guitar;a piano;hands;a hat;a dress;a robot;a knight;a king;a queen;a wizard;
    a dragon;an astronaut;a superhero;a dancer;a musician;a chef;a doctor;a teacher;a soldier;a football player;
    a landscape;still life;interior;architecture;nature;an animal;food;a toy;a statue;a clock""".replace(
        "\n", " "
    ).split(";")
)
SUBJECTS = tuple(" ".join(s.split()) for s in SUBJECTS)
EXTRAS = (
    "highly detailed",
    "masterpiece",
    "best quality",
    "beautiful",
    "4k",
    "high resolution",
    "sharp",
    "detailed",
    "artistic",
    "trending",
    "soft light",
    "award winning",
    "intricate",
    "elegant",
    "professional",
)
FLAWS = (
    "blurry",
    "low quality",
    "bad anatomy",
    "ugly",
    "deformed",
    "noise",
    "artifacts",
    "watermark",
    "text",
    "worst quality",
    "jpeg artifacts",
)
TEMPLATES = (
    "{style}",
    "{style}",
    "{style}",
    "a {style}",
    "{style} style",
    "in the style of {style}",
    "in {style} style",
    "{style} of {subject}",
    "a {style} of {subject}",
    "{subject}, {style}",
    "{subject} as a {style}",
    "{subject} as {style}",
    "{subject} {style}",
    "{subject} in {style} style",
    "{subject} in the style of {style}",
    "{style}, {extra}",
    "a {extra} {style}",
    "{extra} {style} of {subject}",
    "{style} of {subject}, {extra}, {extra2}",
    "make it a {style}",
    "turn it into a {style}",
    "turn this into {style}",
    "convert to {style}",
    "as {style}",
    "like a {style}",
    "looks like {style}",
    "{style} art",
    "{style} effect",
    "{style} filter",
)
UNKNOWN_SHARE = 0.35
"""Share of the subjects made of words that nobody knows: the style beside them is to count, not they."""
SYLLABLES = (
    "an ar bel ber bo bra ca chi con da del der do dra ed el en er est fa fen fi for fri ga gen gle go gra ha her "
    "hol hu il in ing ish ja ju ka ker ki kon la le ler li lo ly ma men mi mon mu na ner ni no nu ol on or ous pa "
    "per pi pro qua ra ren ri ro sa ser shi son sta ster sto str ta ted ter thi tion to tra tu ul un ur va ven vi "
    "wa wer wi xa ya yo za zen zi"
)
PLAIN = (
    "{subject}",
    "{subject}, {extra}",
    "{extra} {subject}",
    "{extra}, {extra2}",
    "{flaw}",
    "{flaw}, {flaw2}",
)
WITH_MOOD = (
    "{prompt} {mood}",
    "{prompt}, {mood}",
    "{prompt}, {mood}",
    "{mood}, {prompt}",
    "{mood} {prompt}",
    "{prompt}, {mood}, {extra}",
    "{prompt} with {mood}",
)
ONLY_MOOD = ("{mood}", "{mood}", "{subject} {mood}", "{subject}, {mood}", "make it {mood}", "{mood}, {extra}")


def misspell(text: str, random: Random) -> str:
    """One typing mistake: a letter dropped, doubled, replaced, or swapped with the next."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha()]
    if len(places) < 3:
        return text
    i = random.choice(places)
    kind = random.randrange(4)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2:
        return text[:i] + random.choice(string.ascii_lowercase) + text[i + 1 :]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def strange(random: Random) -> str:
    """One to three pronounceable words that mean nothing: names, titles and what else no list can hold."""
    syllables = SYLLABLES.split()
    words = ("".join(random.choice(syllables) for _ in range(random.choice((1, 2, 2, 3)))) for _ in range(3))
    some = " ".join(list(words)[: random.choice((1, 1, 2, 3))])
    return random.choice(("", "", "the ", "my ", "a ")) + some


def _subject(random: Random) -> str:
    return strange(random) if random.random() < UNKNOWN_SHARE else random.choice(SUBJECTS)


def _fill(template: str, random: Random, **words: str) -> str:
    return template.format(
        subject=_subject(random),
        extra=random.choice(EXTRAS),
        extra2=random.choice(EXTRAS),
        flaw=random.choice(FLAWS),
        flaw2=random.choice(FLAWS),
        **words,
    )


def _wording(first: str, others: tuple[str, ...], random: Random) -> str:
    """One of the wordings, sometimes misspelt or written together."""
    word = first if random.random() < 0.45 else random.choice(others)
    while random.random() < 0.2:
        word = misspell(word, random)
    if random.random() < 0.05:
        word = word.replace(" ", random.choice(("", "-", "  ")))
    return word


def prompt_for(style: Style, mood: Mood | None, random: Random) -> str:
    """A random prompt for a style, with or without a mood."""
    light = "" if mood is None else _wording(mood.name, mood.synonyms, random)
    if mood is not None and style.prompt == PHOTO and random.random() < 0.6:
        return _fill(random.choice(ONLY_MOOD), random, mood=light)
    prompt = _fill(random.choice(TEMPLATES), random, style=_wording(style.prompt, style.synonyms, random))
    return prompt if mood is None else _fill(random.choice(WITH_MOOD), random, prompt=prompt, mood=light)


def styleless(random: Random) -> str:
    """A prompt that names no style: mostly the empty one, else subjects, praise, flaws, or gibberish."""
    draw = random.random()
    if draw < 0.6:
        return ""
    if draw < 0.85:
        return _fill(random.choice(PLAIN), random)
    length = random.randrange(2, 24)
    letters = string.ascii_lowercase + "    " + string.digits
    return "".join(random.choice(letters) for _ in range(length))


def corpus(styles: Sequence[Style], seed: int, size: int = 20000) -> list[str]:
    """Prompts for learning the tokenizer's merges."""
    random = Random(seed)
    moods = [None, *MOODS.values()]
    lines = [w for s in styles for w in (s.prompt, *s.synonyms) for _ in range(20)]
    lines += [w for m in MOODS.values() for w in (m.name, *m.synonyms) for _ in range(20)]
    return (
        lines
        + [prompt_for(random.choice(styles), random.choice(moods), random) for _ in range(size)]
        + list(SUBJECTS) * 5
    )
