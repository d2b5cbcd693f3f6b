"""Peers that break or strain HTTP/2: the node answers or closes, keeps its memory, names them once, and serves the others."""
import random
import struct

import pytest

from hostile import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR,
                     FRAME_SIZE_ERROR, HEADERS, INTERNAL_ERROR, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REQUEST, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                     Raw, Watch, frame, literal, request, reset)
from harness import UPSTREAM

pytestmark = [pytest.mark.skipif(UPSTREAM, reason="upstream has none of these limits"), pytest.mark.smoke]


@pytest.fixture
def watch(hub):
    with Watch(hub) as watch:
        yield watch


def test_random_bytes(hub, watch):
    source = random.Random(7)
    for number in range(200):
        raw = Raw(hub, preface=False)
        raw.send(source.randbytes(source.randrange(24, 5000)))
        raw.closing()
        raw.close()
        if number == 0:
            watch.blamed("no HTTP/2 client preface", raw.peer)


def test_garbage_after_the_preface(hub, watch):
    source = random.Random(8)
    for number in range(100):
        raw = Raw(hub, preface=False)
        # A frame that is too long, so that it cannot be taken for one of an unknown kind.
        raw.send(PREFACE + frame(SETTINGS) + b"\xff" + source.randbytes(3000))
        assert raw.closing() == FRAME_SIZE_ERROR
        if number == 0:
            watch.blamed("frame", raw.peer)


@pytest.mark.parametrize("kind", [DATA, HEADERS, SETTINGS, CONTINUATION, 200])
def test_frame_of_16_mebibytes_announced(hub, watch, kind):
    raw = Raw(hub)
    raw.send(frame(kind, 0, 0 if kind == SETTINGS else 1, length=2**24 - 1) + bytes(1000))
    assert raw.closing() == FRAME_SIZE_ERROR
    watch.blamed("reason=", raw.peer)


def test_rapid_reset(hub, watch):
    raw = Raw(hub)
    flood = b"".join(request(stream) + reset(stream) for stream in range(1, 40001, 2))
    raw.send(flood)
    assert raw.closing() == INTERNAL_ERROR
    watch.blamed("reason=", raw.peer)


def test_calls_that_are_refused_and_never_heard(hub, watch):
    raw = Raw(hub, receive_bytes=4096)
    # A hundred are let live, all further ones are refused.
    flood = b"".join(request(stream) for stream in range(1, 100001, 2))
    raw.send(flood)
    raw.closing()
    watch.blamed("does not read the answers", raw.peer)


def test_continuation_flood(hub, watch):
    raw = Raw(hub)
    flood = request(1, 0) + frame(CONTINUATION, 0, 1, literal(b"x-more", b"y" * 1000)) * 20000
    raw.send(flood)
    assert raw.closing() in (None, ENHANCE_YOUR_CALM, PROTOCOL_ERROR)
    watch.blamed("reason=", raw.peer)


def test_empty_continuation_flood(hub, watch):
    raw = Raw(hub)
    raw.send(request(1, 0) + frame(CONTINUATION, 0, 1) * 200000)
    assert raw.closing() in (None, ENHANCE_YOUR_CALM, PROTOCOL_ERROR)
    watch.blamed("reason=", raw.peer)


@pytest.mark.parametrize("one", [frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)), frame(SETTINGS), frame(PING, 0, 0, bytes(8))],
                         ids=["settings", "empty settings", "ping"])
def test_flood_whose_answers_are_never_read(hub, watch, one):
    raw = Raw(hub, receive_bytes=4096)
    raw.send(one * (64 * 2**20 // len(one)))
    raw.closing()
    watch.blamed("Flooding", raw.peer)


@pytest.mark.parametrize("stream", [0, 1])
def test_window_update_of_nothing(hub, watch, stream):
    raw = Raw(hub)
    raw.send(request(1) + frame(WINDOW_UPDATE, 0, stream, bytes(4)))
    assert raw.closing() == PROTOCOL_ERROR
    watch.blamed("reason=", raw.peer)


@pytest.mark.parametrize("stream", [0, 1])
def test_window_update_beyond_the_largest_window(hub, watch, stream):
    raw = Raw(hub)
    raw.send(request(1) + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1)) * 2)
    if stream == 0:
        assert raw.closing() == FLOW_CONTROL_ERROR
        watch.blamed("reason=", raw.peer)
    else:
        assert int.from_bytes(raw.answer(RST_STREAM, 1), "big") == FLOW_CONTROL_ERROR


@pytest.mark.parametrize("one", [frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 7)), frame(PRIORITY, 0, 4711, struct.pack(">IB", 0, 7)),
                                 frame(DATA, 0, 1), frame(DATA, 8, 1, b"\x05" + bytes(5)), frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))],
                         ids=["priority", "priority of no stream", "empty data", "padding alone", "window update"])
def test_flood_of_frames_that_say_nothing(hub, watch, one):
    raw = Raw(hub, receive_bytes=4096)
    flood = one * (20 * 2**20 // len(one))
    raw.send(request(1) + flood)
    assert raw.closing() == ENHANCE_YOUR_CALM
    watch.blamed("frames without end that say nothing", raw.peer)


def test_flood_of_frames_of_an_unknown_kind(hub, watch):
    """They have to be ignored, and cost nothing but their bytes."""
    raw = Raw(hub)
    flood = frame(99, 0, 1, bytes(16)) * 400000 + frame(PING, 0, 0, b"12345678")
    assert raw.send(flood) == len(flood)
    assert raw.answer(PING, 0) == b"12345678"


def test_hpack_bomb(hub, watch):
    raw = Raw(hub)
    # One entry fills the table; each byte afterwards stands for it.
    entry = b"\x40" + literal(b"x", b"y" * 4000)[1:]
    raw.send(request(1, END_HEADERS, REQUEST + entry + b"\xbe" * 10000))
    raw.answer(RST_STREAM, 1)
    # The table has to be right all the same, or the next header block would be misread.
    bomb = REQUEST + b"\xbe" * 16000
    flood = b"".join(request(stream, END_HEADERS, bomb) for stream in range(3, 2003, 2))
    raw.send(flood)
    raw.send(frame(PING, 0, 0, b"12345678"))
    assert raw.answer(PING, 0) == b"12345678"


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\xff\xff\xff\xff\x0f", b"\x3f\xff\xff\xff\xff\x07", b"\xfe", b"\x00\x7f\xff\xff\xff\xff\x07x"],
                         ids=["index overflow", "table size", "index of nothing", "length overflow"])
def test_broken_hpack(hub, watch, block):
    raw = Raw(hub)
    raw.send(request(1, END_HEADERS, block))
    assert raw.closing() == COMPRESSION_ERROR
    watch.blamed("reason=", raw.peer)


def test_half_closed_streams(hub, watch):
    """Calls that end before they said anything: the answers are read, so all of them are served, and none stays."""
    raw = Raw(hub)
    for first in range(1, 8001, 80):
        raw.send(b"".join(request(stream, END_HEADERS | END_STREAM) for stream in range(first, first + 80, 2)))
        ended = set()
        for kind, flags, stream, _ in raw.frames(10, lambda *_: len(ended) == 40):
            if kind == HEADERS and flags & END_STREAM:
                ended.add(stream)
            if len(ended) == 40:
                break
        assert len(ended) == 40
