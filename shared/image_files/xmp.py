"""Receipt and index of an image as XMP (ISO 16684-1), for files whose format has no text chunks.

A JPEG's segment holds 64 KiB: a longer packet is cut up as part 3 of Adobe's XMP specification says in
1.1.3.1, "Extended XMP in JPEG". A WebP's chunk holds any.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

#: Names what is the fleet's own in a packet.
NAMESPACE = "urn:swiftdiffusion:image:1:"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NOTE = "http://ns.adobe.com/xmp/note/"
_PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about=""'
    ' xmlns:swift="{swift}" xmlns:xmpNote="{note}">{properties}</rdf:Description></rdf:RDF></x:xmpmeta>'
)
#: What begins the data of the two kinds of segments.
_MAIN, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
#: Of a segment: its marker and the length of the rest, which includes the length's own two bytes.
_APP1, _MAX_DATA = b"\xff\xe1", 65_533
#: Of an extension: 32 digits of the md5 of the whole, the length of the whole, where this part begins.
_PART = struct.Struct(">32sII")
#: The largest metadata that is read: far more than any receipt has.
MAX_BYTES = 16 << 20


def write_packet(properties: Mapping[str, str]) -> bytes:
    """A packet with texts of ASCII, by name: JSON with its escapes has no character that XML has not."""
    return _packet({f"swift:{name}": text for name, text in properties.items()})


def read_packet(packet: bytes) -> dict[str, str]:
    """The texts of `write_packet`, by name; raises `ValueError` for what is no packet."""
    return {
        tag.removeprefix(f"{{{NAMESPACE}}}"): text
        for tag, text in _properties(packet)
        if tag.startswith(f"{{{NAMESPACE}}}")
    }


def jpeg_segments(packet: bytes) -> bytes:
    """The segments of a JPEG that hold a packet."""
    if len(_MAIN) + len(packet) <= _MAX_DATA:
        return _segment(_MAIN + packet)
    digest = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    first = _packet({"xmpNote:HasExtendedXMP": digest})
    step = _MAX_DATA - len(_EXTENSION) - _PART.size
    parts = [
        _EXTENSION + _PART.pack(digest.encode(), len(packet), at) + packet[at : at + step]
        for at in range(0, len(packet), step)
    ]
    return b"".join(map(_segment, [_MAIN + first, *parts]))


def packet_of_segments(segments: Iterable[bytes]) -> bytes:
    """The packet in the data of a JPEG's APP1 segments, empty without one; raises `ValueError`."""
    segments = list(segments)
    first = next((data.removeprefix(_MAIN) for data in segments if data.startswith(_MAIN)), b"")
    digest = dict(_properties(first)).get(f"{{{_NOTE}}}HasExtendedXMP") if first else None
    if digest is None:
        return first
    parts = {}
    for data in segments:
        if data.startswith(_EXTENSION) and len(data) >= len(_EXTENSION) + _PART.size:
            of, _, at = _PART.unpack_from(data, len(_EXTENSION))
            if of == digest.encode():
                parts[at] = data[len(_EXTENSION) + _PART.size :]
    packet = b"".join(parts[at] for at in sorted(parts))
    if hashlib.md5(packet, usedforsecurity=False).hexdigest().upper() != digest:
        raise ValueError("a part of its metadata is missing")
    return packet


def _packet(properties: Mapping[str, str]) -> bytes:
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in properties.items())
    return _PACKET.format(rdf=_RDF, swift=NAMESPACE, note=_NOTE, properties=inner).encode("ascii")


def _properties(packet: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of a packet's properties; other programs write short ones as attributes."""
    if len(packet) > MAX_BYTES:
        raise ValueError(f"its metadata has more than {MAX_BYTES} bytes")
    try:
        root = ElementTree.fromstring(packet)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"its metadata is no XML: {error}") from None
    for description in root.iter(f"{{{_RDF}}}Description"):
        yield from description.attrib.items()
        yield from ((child.tag, child.text or "") for child in description)


def _segment(data: bytes) -> bytes:
    return _APP1 + (2 + len(data)).to_bytes(2, "big") + data
