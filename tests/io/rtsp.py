"""A small RTSP server on loopback (RFC 2326): JPEGs (RFC 2435) or H.264 (RFC 6184) within the connection."""

import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from tests.io.streams import Server

_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP {}\r\na=control:track1\r\n"
#: For `plays`.
H264 = "96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1"
_START = b"\0\0\1"  # of each unit of H.264

#: What is sent after PLAY: pictures as JPEG files or as `h264` gives them, and seconds to wait in between.
Items = Iterable[bytes | float]


def plays(
    items: Items,
    refuse: tuple[str, str] = ("", ""),
    *,
    hold: bool = False,
    slow: float = 0.0,
    sdp: str = "26",
) -> Callable[[socket.socket, bytes], None]:
    """Serve one client; `refuse` is a method and the status that it gets. After the items: close, or hold.

    Each answer takes `slow` seconds; `sdp` is `H264` where the items are.
    """

    def act(connection: socket.socket, request: bytes) -> None:
        while request:
            head, _, _ = request.decode("latin-1").partition("\r\n")
            method = head.split()[0]
            time.sleep(slow)
            sequence = re.search(r"(?i)cseq: *(\d+)", request.decode("latin-1"))
            status = refuse[1] if method == refuse[0] else "200 OK"
            lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence[1] if sequence else 0}", "Session: 7"]
            body = ""
            if method == "OPTIONS":
                lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
            elif method == "DESCRIBE" and status == "200 OK":
                body = _SDP.format(sdp)
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            connection.sendall("\r\n".join([*lines, "", body]).encode())
            if method == "PLAY" and status == "200 OK":
                _play(connection, items)
                while hold and connection.recv(4096):
                    pass  # in silence, until the other side closes
                return
            request = connection.recv(4096)

    return act


def _play(connection: socket.socket, items: Items) -> None:
    number = 0
    for stamp, item in enumerate(items):
        if isinstance(item, float):
            time.sleep(item)
            continue
        kind = packets if item.startswith(b"\xff\xd8") else h264_packets
        for packet in kind(item, number, 3000 * stamp):
            connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
            number += 1


def packets(jpeg: bytes, number: int, stamp: int) -> list[bytes]:
    """The RTP packets of one JPEG: 4:2:0, ordinary Huffman tables, sides that are multiples of 16."""
    tables, coded, height, width = _parse(jpeg)
    made = []
    for at in range(0, len(coded), 1000):
        piece = coded[at : at + 1000]
        last = at + 1000 >= len(coded)
        head = struct.pack(">BBHII", 0x80, 26 | last << 7, number % 65536, stamp, 7)
        head += struct.pack(">I", at) + bytes([1, 255, width // 8, height // 8])
        if not at:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        made.append(head + piece)
        number += 1
    return made


def h264(frames: list[np.ndarray]) -> list[bytes]:
    """Each frame in H.264, by the program ffmpeg; only the first one stands for itself."""
    height, width = frames[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    codec = ["-c:v", "libx264", "-tune", "zerolatency", "-g", "1000", "-pix_fmt", "yuv420p", "-threads", "1"]
    command = ["ffmpeg", "-v", "error", *source, *codec, "-f", "h264", "-"]
    done = subprocess.run(command, input=b"".join(map(bytes, frames)), capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this ffmpeg cannot encode H.264")
    made, units = [], b""
    for unit in re.split(b"\0?" + _START, done.stdout)[1:]:
        units += _START + unit
        if unit[0] & 31 in (1, 5):  # a slice, the only one of its picture
            made.append(units)
            units = b""
    return made


def h264_packets(frame: bytes, number: int, stamp: int) -> list[bytes]:
    """The RTP packets of one frame: units whole, or in fragments where they are long."""
    units, made = frame.split(_START)[1:], []
    for unit in units:
        kind, pieces = unit[:1], [unit[at : at + 1000] for at in range(1, len(unit), 1000)]
        for count, piece in enumerate(pieces):
            first, last = count == 0, piece is pieces[-1]
            flags = first << 7 | last << 6 | kind[0] & 31
            begin = kind if len(pieces) == 1 else bytes([kind[0] & 224 | 28, flags])
            marker = (last and unit is units[-1]) << 7
            made.append(
                struct.pack(">BBHII", 0x80, 96 | marker, (number + len(made)) % 65536, stamp, 7)
                + begin
                + piece
            )
    return made


def _parse(jpeg: bytes) -> tuple[bytes, bytes, int, int]:
    """Quantisation tables, coded data, height and width."""
    tables, height, width, at = b"", 0, 0, 2
    while True:
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if kind == 0xDB:
            tables += jpeg[at + 5 : at + 2 + length]
        elif kind == 0xC0:
            height, width = struct.unpack(">HH", jpeg[at + 5 : at + 9])
        at += 2 + length
        if kind == 0xDA:
            return tables, jpeg[at:-2], height, width


class RtspServer(Server):
    """As `Server`; `address` begins with rtsp://."""

    def __init__(self, *acts: Callable[[socket.socket, bytes], None]) -> None:
        super().__init__(*acts)
        self.address = f"rtsp://127.0.0.1:{self.port}/live"
