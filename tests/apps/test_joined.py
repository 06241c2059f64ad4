"""Recordings joined end to end, cut and damaged ones: times go on rising, sound stays with its picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.media import open_reader, open_writer
from apps.media.joined import BACK, SURE, Joined
from apps.sources.file import FileSource
from streamdiff.frame import Frame
from tests.apps.media import decoded, video
from tests.apps.sources.clip import RATE, SECONDS, encode, flash_and_beep, pieces


def written(source: Path, output: Path) -> str:
    """Copy a file frame by frame; what became of its sound."""
    with open_reader(source) as reader, open_writer(output, reader.width, reader.height, reader) as writer:
        for frame in reader:
            writer.write(frame)
        writer.finish()
        return writer.sound


def heard(path: Path) -> tuple[list[float], list[float]]:
    """Where a file's flashes and beeps are."""
    return flash_and_beep(*pieces(FileSource(path, paced=False), 10_000))


def sound_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """Two recordings with a flash and a beep each, one behind the other."""
    encode(str(tmp_path / "one.ts"), "mpegts", "mpeg2video")
    data = (tmp_path / "one.ts").read_bytes()
    (tmp_path / "two.ts").write_bytes(data * 2)
    return tmp_path / "two.ts"


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_a_file_goes_on_where_its_clock_goes_back(joined: Path, tmp_path: Path, name: str) -> None:
    written(joined, tmp_path / name)
    times = [time for time, _ in decoded(tmp_path / name)]
    assert len(times) == 2 * RATE * SECONDS
    assert np.diff(times) == pytest.approx(1 / RATE, abs=0.1)  # where they meet, sound may end a little later
    flashes, beeps = heard(tmp_path / name)
    assert np.diff(flashes) == pytest.approx(SECONDS, abs=0.05) and len(flashes) == 2
    assert flashes == pytest.approx(beeps, abs=0.05)


def test_a_file_played_live_goes_on_where_its_clock_goes_back(joined: Path) -> None:
    flashes, beeps = heard(joined)
    assert len(flashes) == len(beeps) == 2
    assert np.diff(flashes) == pytest.approx(SECONDS, abs=0.05)
    assert flashes == pytest.approx(beeps, abs=0.05)


def test_a_clock_that_goes_back_for_a_moment_moves_nothing_else() -> None:
    """Damaged times, of one piece or of a few that hang together: the rest stays where it was, in every track."""
    both = Joined()
    for damaged in (1, 5, 12):
        for low in (1.3, 3.0):
            track = both.track()
            times = [i / 30 for i in range(120)]
            hurt = [t - low if 60 <= i < 60 + damaged else t for i, t in enumerate(times)]
            placed = [track.place(t, 1 / 30) for t in hurt]
            assert placed == pytest.approx(times, abs=0.001)
    assert both.parts == [0.0]


def test_pictures_far_apart_are_one_recording() -> None:
    """A screen holds one picture for long; its film has less than one a second."""
    track = Joined().track()
    times = [0, 0.1, 0.2, 60, 60.1, 60.2]
    assert [track.place(t, 8.0) for t in times] == times


@given(
    # Eight pieces each, nearer to one another than the time that it takes to be sure.
    st.lists(st.tuples(st.floats(2 * BACK, 7.9 * SURE), st.floats(0, 1e5)), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_tracks_stay_together_in_every_part(parts: list[tuple[float, float]], turns: list[bool]) -> None:
    """However their pieces come mixed, both tracks are moved alike, and neither's times go back."""
    zero = sorted((start for _, start in parts), reverse=True)  # each begins where another clock stood earlier
    both = Joined()
    tracks = [both.track(), both.track()]
    given_ = [
        [(part, start + i * length / 8) for part, ((length, _), start) in enumerate(zip(parts, zero, strict=True))
         for i in range(8)]
        for _ in tracks
    ]  # fmt: skip
    moved: list[list[tuple[int, float, float]]] = [[], []]
    for turn in turns:
        which = int(turn) if given_[int(turn)] else int(not turn)
        if not given_[which] or (len(moved[which]) - len(moved[1 - which]) > 3):
            continue
        part, time = given_[which].pop(0)
        moved[which].append((part, time, tracks[which].place(time, 0.01)))
    for track in moved:
        placed = [time for _, _, time in track]
        assert np.all(np.diff(placed) > -1e-6)
    offsets = [{part: round(place - time, 6) for part, time, place in track} for track in moved]
    common = set(offsets[0]) & set(offsets[1])
    assert {p: offsets[0][p] for p in common} == {p: offsets[1][p] for p in common}


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_damaged_sound_costs_no_picture(tmp_path: Path, name: str) -> None:
    encode(str(tmp_path / "a.ts"), "mpegts", "mpeg2video")
    data = (tmp_path / "a.ts").read_bytes()
    pieces_ = [data[i : i + 188] for i in range(0, len(data), 188)]
    whole = len(decoded(tmp_path / "a.ts"))
    sound = 0x101  # the second stream's packets, as FFmpeg numbers them
    hurt = [p for i, p in enumerate(pieces_) if int.from_bytes(p[1:3], "big") & 0x1FFF != sound or i % 3]
    assert len(hurt) < len(pieces_)
    (tmp_path / "a.ts").write_bytes(b"".join(hurt))
    fate = written(tmp_path / "a.ts", tmp_path / name)
    assert len(decoded(tmp_path / name)) == whole
    _, sounds = pieces(FileSource(tmp_path / name, paced=False), 10_000)
    assert fate != "none" and sounds[-1].pts + sounds[-1].seconds == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize(("codec", "rate", "layout"), [("adpcm_ima_wav", 11127, "mono"), ("pcm_s16le", 192_000, "5.1")])
def test_sound_at_a_rate_that_the_encoder_does_not_know(tmp_path: Path, codec: str, rate: int, layout: str) -> None:
    source = tmp_path / ("a.mkv" if codec.startswith("pcm") else "a.avi")
    with av.open(str(source), "w") as container:
        picture = container.add_stream("libx264", rate=30)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream(codec, rate=rate)
        tone.layout = layout
        for i in range(30):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * i, np.uint8), "rgb24")))
        container.mux(picture.encode(None))
        channels = len(tone.layout.channels)
        block = av.AudioFrame.from_ndarray(
            np.zeros((1, rate * channels) if codec.startswith("pcm") else (channels, rate), np.int16),
            format="s16" if codec.startswith("pcm") else "s16p", layout=layout,
        )  # fmt: skip
        block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
        for part in (block, None):
            container.mux(tone.encode(part))
    assert written(source, tmp_path / "out.mp4") == "encoded again as aac"
    assert len(decoded(tmp_path / "out.mp4")) == 30
    assert sound_seconds(tmp_path / "out.mp4") == pytest.approx(1.0, abs=0.2)  # AAC's first block is silence


def test_frames_that_an_edit_hides_are_not_missed(tmp_path: Path) -> None:
    """As ffmpeg -ss -c copy leaves a file: what lies between the keyframe and the cut is in it and is not shown."""
    source = video(tmp_path / "a.mp4", 50)
    with av.open(str(source)) as before, av.open(str(tmp_path / "cut.mp4"), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                begin = round(Fraction(31, 30) / packet.time_base)
                packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
                packet.stream = stream
                after.mux(packet)
    with open_reader(tmp_path / "cut.mp4") as reader:
        frames: list[Frame] = list(reader)
    assert 15 < len(frames) < 25 and reader.warnings == []


def test_text_is_not_played_as_a_film(tmp_path: Path) -> None:
    from streamdiff.errors import MediaError

    (tmp_path / "notes.txt").write_text("not a film\n" * 200)
    with pytest.raises(MediaError, match="neither a picture nor a video"):
        FileSource(tmp_path / "notes.txt")
