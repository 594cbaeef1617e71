"""Small AEDAT 4 files, made by hand: no tool at hand writes them.

A line of text, then FlatBuffers each behind their size: a header that describes the streams in XML, then packets.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

Event = tuple[int, int, int, int]  # t, x, y, polarity


def aedat4(packets: Sequence[tuple[int, Sequence[Event]]]) -> bytes:
    """A file with these packets, each of a stream of events, uncompressed."""
    parts = [(stream, _event_packet(events)) for stream, events in packets]
    framed = [struct.pack("<ii", stream, len(part)) + part for stream, part in parts]
    streams = "".join(_stream(stream) for stream in sorted({stream for stream, _ in packets}))
    outer = f'<node name="outInfo" path="/mainloop/Recorder/outInfo/">{streams}</node>'
    return b"#!AER-DAT4.0\r\n" + _header(f'<dv version="2.0">{outer}</dv>'.encode()) + b"".join(framed)


def _stream(stream: int) -> str:
    place = f"/mainloop/Recorder/outInfo/{stream}/"
    words = {"compression": "NONE", "originalModuleName": "capture", "originalOutputName": "events"}
    words |= {"typeDescription": "events", "typeIdentifier": "EVTS"}
    told = "".join(f'<attr key="{key}" type="string">{value}</attr>' for key, value in words.items())
    size = "".join(f'<attr key="size{axis}" type="int">128</attr>' for axis in "XY")
    size += '<attr key="source" type="string">DVS128</attr>'
    return f'<node name="{stream}" path="{place}">{told}<node name="info" path="{place}info/">{size}</node></node>'


def _header(info: bytes) -> bytes:
    """Table IOHeader {compression: int, dataTablePosition: long, infoNode: string}."""
    vtable = struct.pack("<HHHHH2x", 10, 24, 4, 8, 16)
    table = struct.pack("<iiqI4x", len(vtable), 0, -1, 8)  # the string follows, 8 bytes from its offset on
    return _sized(b"IOHE", vtable, table + struct.pack("<I", len(info)) + info + b"\0")


def _event_packet(events: Sequence[Event]) -> bytes:
    """Table EventPacket {elements: [Event]}, Event {t: long, x: short, y: short, on: bool}."""
    vtable = struct.pack("<HHH2x", 6, 8, 4)
    table = struct.pack("<iI", len(vtable), 4)
    rows = b"".join(struct.pack("<qhhB3x", *event) for event in events)
    return _sized(b"EVTS", vtable, table + struct.pack("<I", len(events)) + rows)


def _sized(kind: bytes, vtable: bytes, rest: bytes) -> bytes:
    body = struct.pack("<I", 8 + len(vtable)) + kind + vtable + rest
    body += bytes(-len(body) % 8)
    return struct.pack("<I", len(body)) + body
