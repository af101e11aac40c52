"""Cutting JPEGs without decoding them: the pixels are those of the whole file, whatever its kind."""

import cv2
import numpy as np
import pytest
import simplejpeg
from picture_files import SAMPLINGS, cmyk, jpeg, noisy, picture, with_orientation

from cellwright.dataloader.decode.decoders import BadImage
from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import Cutter
from cellwright.dataloader.decode.jpeg_region import RegionDecoder, can_decode
from cellwright.dataloader.decode.picture import Encoded
from cellwright.kernels.image.huffman import canonical, complete_dc

RNG = np.random.default_rng(11)


def rough(height, width):
    return noisy(RNG, height, width)


def boxes(height, width, count=6):
    yield 0, 0, height, width
    for _ in range(count):
        h, w = RNG.integers(1, height + 1), RNG.integers(1, width + 1)
        yield int(RNG.integers(0, height - h + 1)), int(RNG.integers(0, width - w + 1)), int(h), int(w)


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "gray"])
@pytest.mark.parametrize("quality, optimised", ((30, False), (95, True), (100, False)))
@pytest.mark.parametrize("size", ((150, 200), (33, 17), (64, 128), (8, 8), (5, 90), (260, 3)))
def test_a_part_has_the_pixels_of_the_whole(sampling, quality, optimised, size):
    data = jpeg(rough(*size), sampling, quality, optimize=optimised)
    whole = simplejpeg.decode_jpeg(data)
    cutter, frame = Cutter(), read_frame(data)
    kept = cutter.kept_notes(data, frame)
    for top, left, h, w in boxes(*size):
        want = whole[top : top + h, left : left + w]
        for notes in (None, kept):
            part, y, x = cutter.cut_box(data, frame, (top, left, h, w), notes)
            got = simplejpeg.decode_jpeg(part)  # strict: no complaint at all
            assert np.array_equal(got[top - y : top - y + h, left - x : left - x + w], want)


@pytest.mark.parametrize("sampling", [*SAMPLINGS, "gray"])
@pytest.mark.parametrize("shrink", (2, 4, 8))
def test_a_part_may_be_shrunk_and_keeps_its_place(sampling, shrink):
    data = jpeg(rough(400, 600), sampling)
    whole = simplejpeg.decode_jpeg(data, min_factor=shrink, min_height=400 // shrink, min_width=600 // shrink)
    for top, left, h, w in (
        (100, 130, 160, 161),
        (230, 431, 170, 169),
        (97, 129, 158, 158),
        (33, 65, 62, 94),
        (112, 160, 80, 96),
    ):
        got, y, x, factor = Encoded(data).pixels((top, left, h, w), (h // shrink, w // shrink))
        assert factor == shrink and y % shrink == 0 == x % shrink
        y, x, first, begin = y // shrink, x // shrink, top // shrink, left // shrink
        end, stop = -(-(top + h) // shrink), -(-(left + w) // shrink)  # whatever pixel the box touches
        assert np.array_equal(got[first - y : end - y, begin - x : stop - x], whole[first:end, begin:stop])


@pytest.mark.parametrize("sampling", ["444", "422", "420", "gray"])
@pytest.mark.parametrize("quality, optimised", ((30, False), (95, True), (100, False)))
@pytest.mark.parametrize("size", ((150, 200), (33, 17), (64, 528), (8, 8), (5, 90), (260, 5)))
def test_a_part_is_decoded_to_the_pixels_of_the_whole(sampling, quality, optimised, size):
    data = jpeg(rough(*size), sampling, quality, optimize=optimised)
    whole = simplejpeg.decode_jpeg(data)
    decoder, frame = RegionDecoder(), read_frame(data)
    assert can_decode(frame)
    kept = Cutter().kept_notes(data, frame)
    for top, left, h, w in boxes(*size):
        for notes in (None, kept):
            got = decoder.decode(data, frame, (top, left, h, w), notes)
            assert np.array_equal(got, whole[top : top + h, left : left + w])


def test_what_the_decoder_does_not_have_the_bits_of_is_left_to_libjpeg():
    data = jpeg(rough(60, 70), "420")
    assert can_decode(read_frame(data))
    assert not can_decode(read_frame(jpeg(rough(60, 70), "440")))
    assert not can_decode(read_frame(jpeg(rough(60, 4), "420")))
    adobe_rgb = data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[20:]  # in place of the JFIF segment
    assert not can_decode(read_frame(adobe_rgb))
    assert np.array_equal(Encoded(adobe_rgb).pixels((0, 0, 9, 9))[0][:9, :9], simplejpeg.decode_jpeg(adobe_rgb)[:9, :9])
    # Flat blocks far out of range: libjpeg's short cut wraps round where the transform does not.
    table = data.index(b"\xff\xdb") + 5
    harsh = data[:table] + b"\xff" + data[table + 1 :]
    assert RegionDecoder().decode(harsh, read_frame(harsh), (0, 0, 60, 70)) is None


def test_cutting_pays_for_small_boxes_and_is_left_alone_for_large_ones():
    data = jpeg(rough(300, 400), "420")
    assert Encoded(data).pixels((100, 100, 100, 100))[0].shape[0] < 200
    assert Encoded(data).pixels((5, 5, 290, 390))[0].shape == (300, 400, 3)


@pytest.mark.parametrize("settings", ({"progressive": 1}, {"rst_interval": 3}))
def test_files_that_cannot_be_cut_are_decoded_whole(settings):
    data = jpeg(rough(90, 120), "420", **settings)
    assert read_frame(data) is None
    assert np.array_equal(Encoded(data).pixels((40, 40, 8, 8))[0], simplejpeg.decode_jpeg(data))


def test_a_cmyk_file_and_files_of_other_kinds_become_rgb():
    image = picture(RNG, 40, 50)
    for suffix in (".png", ".bmp", ".webp"):
        got = Encoded(cv2.imencode(suffix, image[..., ::-1])[1].tobytes()).pixels()[0]
        assert got.shape == image.shape and np.abs(got.astype(int) - image).mean() < 8
    deep = cv2.imencode(".png", image[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(Encoded(deep).pixels()[0], image)
    alpha = cv2.imencode(".png", np.dstack([image[..., ::-1], np.full((40, 50), 9, np.uint8)]))[1].tobytes()
    assert np.array_equal(Encoded(alpha).pixels()[0], image)
    gray = cv2.imencode(".png", image[..., 0])[1].tobytes()
    assert np.array_equal(Encoded(gray).pixels()[0], np.repeat(image[..., :1], 3, 2))
    got = Encoded(cmyk(image)).pixels((10, 10, 8, 8))[0]
    assert got.shape == image.shape and np.abs(got.astype(int) - image).mean() < 8


def test_the_orientation_tag_is_ignored():
    data = jpeg(picture(RNG, 40, 60), "444")
    turned = with_orientation(data)
    assert np.array_equal(Encoded(turned).pixels()[0], Encoded(data).pixels()[0])
    assert Encoded(turned).pixels((0, 0, 8, 8))[0].shape[0] <= 40


def test_damage_is_never_worse_than_for_the_whole_decoder():
    """Random damage: a part is cut only where the file's bits hold together; a truncated file is refused."""
    data = jpeg(rough(200, 260), "420")
    cutter = Cutter()
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(int(RNG.integers(1, 6))):
            broken[int(RNG.integers(2, len(broken)))] = int(RNG.integers(0, 256))
        broken = bytes(broken)
        try:
            frame = read_frame(broken)
            if frame is not None and frame.height * frame.width < 10**6:
                kept = cutter.kept_notes(data, read_frame(data))
                cutter.cut_box(broken, frame, (20, 20, 40, 40))
                if frame.units == read_frame(data).units and frame.blocks.size == 6:
                    cutter.cut_box(broken, frame, (20, 20, 40, 40), kept)
            Encoded(broken).pixels((20, 20, 40, 40))
        except BadImage:
            pass
    for size in RNG.integers(2, len(data) - 2, 50):
        with pytest.raises(BadImage):
            Encoded(data[:size]).pixels((20, 20, 40, 40))


def test_huffman_tables_are_completed_without_changing_a_code():
    for counts, symbols in (
        ([0, 1, 5, 1] + [0] * 12, [0, 1, 2, 3, 4, 5, 6]),
        ([1] + [0] * 15, [7]),
        ([0, 3] + [0] * 14, [0, 1, 2]),
    ):
        grown, more = complete_dc(counts, symbols)
        codes, lengths = canonical(grown, more)
        assert more[: len(symbols)] == symbols and sorted(more) == list(range(12))
        assert np.array_equal(codes[: len(symbols)], canonical(counts, symbols)[0])
        words = [format(code, f"0{length}b") for code, length in zip(codes, lengths)]
        assert not any(a != b and b.startswith(a) for a in words for b in words)
        assert all("0" in word for word in words) and max(lengths) <= 16
