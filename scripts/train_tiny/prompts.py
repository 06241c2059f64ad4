"""Random wordings of prompts, and the corpus on which the tokenizer's merges are learned."""

from __future__ import annotations

import string
from random import Random

from .styles import STYLES, Style

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
PLAIN = (
    "{subject}",
    "{subject}, {extra}",
    "{extra} {subject}",
    "{extra}, {extra2}",
    "{flaw}",
    "{flaw}, {flaw2}",
)


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


def _fill(template: str, style: str, random: Random) -> str:
    return template.format(
        style=style,
        subject=random.choice(SUBJECTS),
        extra=random.choice(EXTRAS),
        extra2=random.choice(EXTRAS),
        flaw=random.choice(FLAWS),
        flaw2=random.choice(FLAWS),
    )


def styled(style: Style, random: Random) -> str:
    """A random prompt for a style."""
    word = style.prompt if random.random() < 0.55 else random.choice(style.synonyms)
    if random.random() < 0.15:
        word = misspell(word, random)
    if random.random() < 0.05:
        word = word.replace(" ", random.choice(("", "-", "  ")))
    return _fill(random.choice(TEMPLATES), word, random)


def styleless(random: Random) -> str:
    """A prompt that names no style: mostly the empty one, else subjects, praise, flaws, or gibberish."""
    draw = random.random()
    if draw < 0.6:
        return ""
    if draw < 0.85:
        return _fill(random.choice(PLAIN), "", random)
    length = random.randrange(2, 24)
    letters = string.ascii_lowercase + "    " + string.digits
    return "".join(random.choice(letters) for _ in range(length))


def corpus(seed: int, size: int = 20000) -> list[str]:
    """Prompts for learning the tokenizer's merges."""
    random = Random(seed)
    styles = list(STYLES.values())
    lines = [w for s in styles for w in (s.prompt, *s.synonyms) for _ in range(20)]
    return lines + [styled(random.choice(styles), random) for _ in range(size)] + list(SUBJECTS) * 5
