import pytest

from shared.image_files.xmp import jpeg_segments, packet_of_segments, read_packet, write_packet

#: Its packet does not fit into one segment of a JPEG.
LONG = write_packet({"receipt": "x" * 200_000})


def segments_of(jpeg: bytes) -> list[bytes]:
    """The data of each segment."""
    found = []
    while jpeg:
        assert jpeg[:2] == b"\xff\xe1"
        size = int.from_bytes(jpeg[2:4], "big")
        found.append(jpeg[4 : 2 + size])
        jpeg = jpeg[2 + size :]
    return found


def test_a_packet_gives_back_its_texts() -> None:
    texts = {"receipt": '{"prompt": "<a> & b ]]>"}', "index": "0"}
    assert read_packet(write_packet(texts)) == texts


@pytest.mark.parametrize("packet", [write_packet({"index": "1"}), LONG])
def test_segments_of_a_jpeg_give_back_their_packet(packet: bytes) -> None:
    assert packet_of_segments(segments_of(jpeg_segments(packet))) == packet


def test_segments_are_put_together_in_any_order_and_others_are_left_out() -> None:
    segments = [b"Exif\0\0", b"http://ns.adobe.com/xmp/extension/\0", *segments_of(jpeg_segments(LONG))]
    assert packet_of_segments(reversed(segments)) == LONG


def test_a_packet_of_which_a_segment_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        packet_of_segments(segments_of(jpeg_segments(LONG))[:-1])


def test_an_image_without_a_packet_has_none() -> None:
    assert packet_of_segments([b"Exif\0\0..."]) == b""


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"no XML",
        b"<a>",
        b"\xff\xfe",
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b" " * (17 << 20),
        b'<!DOCTYPE a [<!ENTITY b "' + b"b" * 1000 + b'"><!ENTITY c "' + b"&b;" * 100_000 + b'">]><a>&c;</a>',
    ],
    ids=["empty", "no XML", "cut off", "no text", "encoding", "large", "entities"],
)
def test_what_is_no_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="metadata"):
        read_packet(packet)


def test_the_packet_of_another_program_has_none_of_our_texts() -> None:
    other = write_packet({"receipt": "{}"}).replace(b"urn:swiftdiffusion", b"urn:other")
    assert read_packet(other) == {}
