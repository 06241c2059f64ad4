"""Every seam in aiortc that the latency rests on, held against the installed aiortc."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, rtcrtpreceiver, rtcrtpsender, rtp
from aiortc.codecs import get_capabilities
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from apps.webrtc import low_latency
from apps.webrtc.low_latency import MarkerJitterBuffer

H264 = RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000, payloadType=99)


@pytest.fixture(autouse=True)
def installed() -> None:
    low_latency.install()


def packet(number: int, frame: int, last: bool) -> RtpPacket:
    made = RtpPacket(payload_type=99, sequence_number=number % 65536, timestamp=frame * 3000, marker=int(last))
    made._data = bytes([frame % 256, number % 256])  # type: ignore[attr-defined]
    return made


def packets(sizes: list[int], start: int) -> list[RtpPacket]:
    made, number = [], start
    for frame, size in enumerate(sizes):
        made += [packet(number + i, frame, i == size - 1) for i in range(size)]
        number += size
    return made


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), start=st.integers(0, 65535))
def test_a_frame_is_released_with_its_own_last_packet(sizes: list[int], start: int) -> None:
    buffer = MarkerJitterBuffer(capacity=128, is_video=True)
    for made in packets(sizes, start):
        _, frame = buffer.add(made)
        assert (frame is not None) == bool(made.marker)
        if frame is not None:
            assert frame.timestamp == made.timestamp


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=10), seed=st.integers(0, 1000))
def test_out_of_order_packets_give_the_same_frames(sizes: list[int], seed: int) -> None:
    ordered = packets(sizes, 100)
    rng = np.random.default_rng(seed)
    places = np.arange(len(ordered)) + rng.uniform(0, 3, len(ordered))
    places[0] = -1  # a jitter buffer begins where the first packet to come says
    buffer = MarkerJitterBuffer(capacity=128, is_video=True)
    got = [frame for i in np.argsort(places) if (frame := buffer.add(ordered[i])[1]) is not None]
    got += [frame for _ in sizes if (frame := buffer._remove_frame(0)) is not None]
    wanted = {f: b"".join(p._data for p in ordered if p.timestamp == f * 3000) for f in range(len(sizes))}  # type: ignore[attr-defined]
    assert [(f.timestamp // 3000, f.data) for f in got] == list(wanted.items())


def test_a_lost_packet_holds_back_its_frame() -> None:
    buffer = MarkerJitterBuffer(capacity=16, is_video=True)
    first, _, last = packets([3], 0)
    assert buffer.add(first)[1] is None and buffer.add(last)[1] is None


@given(size=st.integers(1, 8), lost=st.integers(0, 7), start=st.integers(0, 65535), epoch=st.integers(0, 2**32 - 1))
def test_a_packet_that_never_comes_is_not_waited_for(size: int, lost: int, start: int, epoch: int) -> None:
    buffer = MarkerJitterBuffer(capacity=512, is_video=True)
    all_of_them = packets([size] * 60, start)
    for made in all_of_them:
        made.timestamp = (made.timestamp + epoch) % 2**32
    missing = 10 * size + lost % size
    released: list[int] = []
    asked: list[int] = []
    for number, made in enumerate(all_of_them):
        if number == missing:
            continue
        keyframe, frame = buffer.add(made)
        if keyframe:
            asked.append(number // size)
        if frame is not None:
            released.append((frame.timestamp - epoch) % 2**32 // 3000)
            assert frame.data == b"".join(p._data for p in all_of_them if p.timestamp == frame.timestamp)  # type: ignore[attr-defined]
            assert released[-1] == number // size  # and what was held back is not shown late
    assert released[:10] == list(range(10))
    assert len(asked) == 1 and asked[0] - 10 <= 9  # 0.3 s at 30 frames a second
    assert released[10:] == list(range(released[10], 60)) and released[10] - 10 <= 9


def test_audio_is_left_as_it_was() -> None:
    ours, theirs = MarkerJitterBuffer(capacity=16, prefetch=4), JitterBuffer(capacity=16, prefetch=4)
    for made in packets([1] * 12, 7):
        a, b = ours.add(made)[1], theirs.add(made)[1]
        assert (a and a.timestamp) == (b and b.timestamp)


def test_the_playout_delay_extension_is_sent_where_it_was_agreed_on() -> None:
    assert low_latency.PLAYOUT_DELAY in [e.uri for e in get_capabilities("video").headerExtensions]
    extensions = rtp.HeaderExtensionsMap()
    agreed = [
        RTCRtpHeaderExtensionParameters(id=3, uri="urn:ietf:params:rtp-hdrext:sdes:mid"),
        RTCRtpHeaderExtensionParameters(id=11, uri=low_latency.PLAYOUT_DELAY),
    ]
    extensions.configure(RTCRtpParameters(headerExtensions=agreed))
    made = RtpPacket(payload_type=99)
    made.extensions.mid = "0"
    made.payload = b"x"
    raw = made.serialize(extensions)
    profile, length = int.from_bytes(raw[12:14], "big"), int.from_bytes(raw[14:16], "big") * 4
    values = dict(rtp.unpack_header_extensions(profile, raw[16 : 16 + length]))
    assert values == {3: b"0", 11: b"\0\0\0"}
    assert RtpPacket.parse(raw, extensions).payload == b"x"
    plain = rtp.HeaderExtensionsMap()
    plain.configure(RTCRtpParameters(headerExtensions=agreed[:1]))
    assert b"\xb2\0\0\0" not in made.serialize(plain)


def test_ours_are_used() -> None:
    assert rtcrtpreceiver.JitterBuffer is MarkerJitterBuffer
    assert isinstance(rtcrtpreceiver.get_decoder(H264), low_latency.ImmediateH264Decoder)
    assert isinstance(rtcrtpsender.get_encoder(H264), low_latency.FastH264Encoder)
    vp8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=97)
    assert isinstance(rtcrtpsender.get_encoder(vp8), low_latency.FastVp8Encoder)


def video(i: int, width: int = 128, height: int = 96) -> av.VideoFrame:
    picture = np.random.default_rng(i).integers(0, 255, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = 3000 * i, Fraction(1, 90_000)
    return frame


@pytest.mark.parametrize("encoder", [low_latency.FastH264Encoder, low_latency.FastVp8Encoder])
def test_encoders_give_each_picture_at_once_and_are_rebuilt_only_for_large_changes(encoder: type) -> None:
    made = encoder()
    for i in range(4):
        payloads, timestamp = made.encode(video(i), force_keyframe=i == 0)
        assert payloads and timestamp == 3000 * i
    before = made.codec
    made.target_bitrate = int(made.target_bitrate * 1.2)
    made.encode(video(5))
    assert made.codec is before
    made.target_bitrate = made.target_bitrate * 2
    assert made.encode(video(6))[0] and made.codec is not before
    made.target_bitrate = 1
    assert made.target_bitrate == low_latency.LEAST_BITRATE
    made.target_bitrate = 10**12
    assert made.target_bitrate == low_latency.MOST_BITRATE
    assert made.encode(video(7, 64, 64))[0]  # another size


def test_the_decoder_gives_each_picture_at_once() -> None:
    encoder, decoder = low_latency.FastH264Encoder(), low_latency.ImmediateH264Decoder()
    for i in range(6):
        data = b"".join(b"\0\0\0\1" + nal for nal in encoder._encode_frame(video(i), i == 0))
        assert len(decoder.decode(low_latency.JitterFrame(data, 3000 * i))) == 1


class One(MediaStreamTrack):
    """One picture, and then nothing."""

    kind = "video"
    sent = False

    async def recv(self) -> av.VideoFrame:
        if self.sent:
            await asyncio.sleep(3600)
        self.sent = True
        return video(0)


@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
async def test_a_single_picture_arrives_without_a_second_one(codec: str) -> None:
    sender, receiver = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    transceiver = sender.addTransceiver(One(), direction="sendonly")
    transceiver.setCodecPreferences([c for c in get_capabilities("video").codecs if c.mimeType == codec])
    tracks: list[MediaStreamTrack] = []
    receiver.on("track", tracks.append)
    await sender.setLocalDescription(await sender.createOffer())
    await receiver.setRemoteDescription(sender.localDescription)
    await receiver.setLocalDescription(await receiver.createAnswer())
    await sender.setRemoteDescription(receiver.localDescription)
    frame = await asyncio.wait_for(tracks[0].recv(), 10)
    assert (frame.width, frame.height) == (128, 96)
    await sender.close()
    await receiver.close()
