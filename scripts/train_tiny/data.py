"""Photographs, their crops, and the cache of pictures on disk.

The cache holds one memory-mapped array per "layer" (the photographs, one style, or one style of abstracted
photographs): `pictures/<layer>.npy` is uint8 [P, K, S, S, 3] in RGB (P photographs, K crops each, S pixels a side).
`index.json` names the photographs in order, and `pictures/<layer>.done.json` says how many rows of a layer are filled,
so that a stage can start before the last is done.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .config import Config

Picture = NDArray[np.uint8]
Pictures = NDArray[np.uint8]
PHOTO = "photo"
CELL = 8
"""Pixels of a picture to a latent: the period of every screen."""


def coarse(style: str) -> str:
    """Name of the layer in which a style is given the abstracted photograph: what it looks like at full strength."""
    return f"{style}, coarse"


@dataclass(frozen=True)
class Photo:
    """A photograph of the collection, by its path below the data folder."""

    name: str
    category: str
    faces: int

    def held_out(self, percent: int) -> bool:
        """Whether it is kept out of training: a stable function of the name alone."""
        return int(hashlib.sha1(self.name.encode()).hexdigest()[:8], 16) % 100 < percent


def list_photos(data: Path) -> list[Photo]:
    """All photographs named in LICENSES.tsv that exist, in an order mixed by a hash.

    Any prefix is therefore a fair sample. A folder without that file is taken as a plain folder of pictures.
    """
    table = data / "LICENSES.tsv"
    photos: list[Photo] = []
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                faces = row["frontal_faces_haar"]
                if row["file"].startswith("photos/") and (data / row["file"]).exists():
                    photos.append(Photo(row["file"], row["category"], int(faces) if faces.isdigit() else 0))
    else:
        kinds = {".jpg", ".jpeg", ".png", ".webp"}
        photos = [Photo(str(p.relative_to(data)), "", 0) for p in sorted(data.rglob("*")) if p.suffix.lower() in kinds]
    return sorted(photos, key=lambda p: hashlib.md5(p.name.encode()).hexdigest())


def read_rgb(path: Path) -> Picture:
    """Read a picture as uint8 RGB [H, W, 3]."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"cannot read {path}")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def crop_photo(picture: Picture, photo: Photo, index: int, size: int, rng: np.random.Generator) -> Picture:
    """Crop number `index` of a photograph, uint8 [size, size, 3].

    Crop 0 shows nearly all of it; later ones are flipped and nearer. Portraits are cropped towards the top, where
    the face is.
    """
    height, width = picture.shape[:2]
    zoom = rng.uniform(1.0, 1.12) if index == 0 else rng.uniform(1.15, 1.7)
    scale = zoom * size / min(height, width)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    new = (max(size, round(width * scale)), max(size, round(height * scale)))
    picture = np.asarray(cv2.resize(picture, new, interpolation=interpolation), dtype=np.uint8)
    free_y, free_x = new[1] - size, new[0] - size
    portrait = photo.category == "people"
    y = int(free_y * (rng.uniform(0.05, 0.45) if portrait else rng.uniform(0, 1)))
    x = int(free_x * (rng.uniform(0.3, 0.7) if portrait else rng.uniform(0, 1)))
    picture = picture[y : y + size, x : x + size]
    return np.ascontiguousarray(picture[:, ::-1] if index % 2 else picture)


class Cache:
    """The cache folder; every array is created once and then opened memory-mapped."""

    def __init__(self, work: Path, config: Config) -> None:
        self.work = work
        self.config = config.data
        self.styles = config.styles()

    def write_index(self, photos: list[Photo]) -> None:
        """Fix the list of photographs (the order of the rows in every array)."""
        write_json(self.work / "index.json", [asdict(p) for p in photos])

    def photos(self) -> list[Photo]:
        """The photographs, in the order of the rows."""
        return [Photo(**row) for row in json.loads((self.work / "index.json").read_text())]

    def create(self, layer: str) -> Pictures:
        """Open a layer for writing, creating it when missing."""
        path = self._path(layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return np.load(path, mmap_mode="r+")
        side = self.config.size
        shape = (len(self.photos()), self.config.crops, side, side, 3)
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def open(self, layer: str) -> Pictures:
        """Open a layer for reading, [P, K, S, S, 3]."""
        return np.load(self._path(layer), mmap_mode="r")

    def done(self, layer: str) -> list[int]:
        """Rows filled so far, one number per crop."""
        path = self._path(layer).with_suffix(".done.json")
        return list(json.loads(path.read_text())) if path.exists() else [0] * self.config.crops

    def set_done(self, layer: str, rows: list[int]) -> None:
        """Note the number of rows filled, one number per crop."""
        write_json(self._path(layer).with_suffix(".done.json"), rows)

    def layers(self) -> list[str]:
        """Layers of which something is filled, the photographs first."""
        names = sorted(p.name.removesuffix(".done.json") for p in (self.work / "pictures").glob("*.done.json"))
        return sorted(names, key=lambda n: (n != PHOTO, n))

    def _path(self, layer: str) -> Path:
        return self.work / "pictures" / f"{layer}.npy"

    def rows(self, held_out: bool) -> NDArray[np.int64]:
        """Row numbers of the training (or the held-out) photographs."""
        percent = self.config.held_out_percent
        return np.array([i for i, p in enumerate(self.photos()) if p.held_out(percent) == held_out], dtype=np.int64)


def write_json(path: Path, value: object) -> None:
    """Write JSON so that a reader sees the old or the new file, never a half one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
