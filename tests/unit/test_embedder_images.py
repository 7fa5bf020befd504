"""PretrainedEmbedder on images in all their forms, claim by claim."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skcert import PretrainedEmbedder

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def pixels():
    """Five images of 9 x 10 pixels, channels last."""
    return np.random.default_rng(0).integers(0, 256, size=(5, 9, 10, 3), dtype=np.uint8)


@pytest.fixture
def pictures(pixels):
    return [Image.fromarray(image) for image in pixels]


@pytest.fixture
def paths(pictures, tmp_path):
    names = [tmp_path / f"{i}.png" for i in range(len(pictures))]
    for picture, name in zip(pictures, names, strict=True):
        picture.save(name)
    return names


@pytest.fixture
def network(torch):
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


@pytest.fixture
def spy(torch):
    """A module that keeps the tensors it gets and returns one number per row."""

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, x):
            self.seen.append(x.clone())
            return x.reshape(len(x), -1)[:, :1]

    return Spy()


def bytes_of(image):
    """A preprocess for one PIL image, as torchvision's PILToTensor would be, in NumPy."""
    assert isinstance(image, Image.Image) and image.mode == "RGB"
    return np.asarray(image).transpose(2, 0, 1)


def channel_means(batch):
    return batch.mean(axis=(1, 2))


# -----------------------------------------------------------------------------
# Arrays: channels first or last


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64, ">i4"])
def test_channels_last_is_channels_first_whatever_the_type(network, pixels, dtype):
    expected = PretrainedEmbedder(network).fit_transform(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_array_equal(PretrainedEmbedder(network).fit_transform(pixels.astype(dtype)), expected)
    np.testing.assert_array_equal(PretrainedEmbedder(network).fit_transform(list(pixels.astype(dtype))), expected)


@pytest.mark.parametrize(
    ("row", "input_shape", "seen"),
    [
        ((9, 10, 3), None, (3, 9, 10)),
        ((9, 10, 1), None, (1, 9, 10)),
        ((8, 8, 4), None, (4, 8, 8)),
        ((3, 9, 10), None, (3, 9, 10)),
        ((7, 8, 3), None, (7, 8, 3)),  # too small a side for an image
        ((9, 10, 2), None, (9, 10, 2)),  # no image has two channels
        ((3, 8, 3), None, (3, 8, 3)),
        ((9, 10, 2), (2, 9, 10), (2, 9, 10)),
        ((4, 5, 3), (3, 4, 5), (3, 4, 5)),
        ((9, 10, 3), (9, 10, 3), (9, 10, 3)),  # the shape asked for passes
        ((270,), (3, 9, 10), (3, 9, 10)),
        ((9, 10), None, (9, 10)),
    ],
)
def test_the_layout_is_told_by_the_shape_alone(spy, row, input_shape, seen):
    X = np.arange(2 * np.prod(row)).reshape(2, *row)
    PretrainedEmbedder(spy, input_shape=input_shape).fit_transform(X)
    (batch,) = spy.seen
    assert tuple(batch.shape[1:]) == seen and batch.is_contiguous()
    moved = X.transpose(0, 3, 1, 2) if len(row) == 3 and seen != row else X.reshape(2, *seen)
    np.testing.assert_array_equal(batch.numpy(), moved)


def test_a_callable_gets_the_layout_of_X(pixels):
    seen = []
    PretrainedEmbedder(lambda batch: seen.append(batch.shape) or batch[:, 0, 0]).fit(pixels)
    assert seen == [(1, 9, 10, 3)]
    with pytest.raises(ValueError, match=r"input_shape=\(3, 9, 10\) asks for"):
        PretrainedEmbedder(channel_means, input_shape=(3, 9, 10)).fit(pixels)


# -----------------------------------------------------------------------------
# PIL images and files


@pytest.mark.parametrize(
    "container",
    [list, tuple, pd.Series, lambda items: np.array([*items, None], dtype=object)[:-1], lambda items: [str(i) for i in items]],
)
def test_files_are_the_images_in_them(network, pixels, paths, container):
    expected = PretrainedEmbedder(network).fit_transform(pixels)
    embedder = PretrainedEmbedder(network, batch_size=2, progress=False)
    np.testing.assert_allclose(embedder.fit_transform(container(paths)), expected, rtol=1e-5, atol=1e-4)
    assert not hasattr(embedder, "n_features_in_")


@pytest.mark.parametrize("container", [list, pd.Series])
def test_pil_images_are_their_pixels(network, pixels, pictures, container):
    expected = PretrainedEmbedder(network).fit_transform(pixels)
    np.testing.assert_allclose(PretrainedEmbedder(network).fit_transform(container(pictures)), expected, rtol=1e-6)
    by_shape = PretrainedEmbedder(network, input_shape=(3, 9, 10))
    np.testing.assert_allclose(by_shape.fit_transform(pictures), expected, rtol=1e-6)


def test_files_are_opened_when_their_batch_is_due(spy, paths, monkeypatch):
    opened = []
    really_open = Image.open
    monkeypatch.setattr(Image, "open", lambda name: opened.append(len(spy.seen)) or really_open(name))
    PretrainedEmbedder(spy, batch_size=2, progress=False).fit_transform(paths)
    assert opened == [0, 0, 1, 1, 2]  # batches that had been run when the file was opened


def test_images_are_turned_upright_and_converted_to_rgb(torch, spy, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    wide = np.zeros((8, 9, 3), np.uint8)
    wide[0, 0] = 255
    Image.fromarray(wide).save(tmp_path / "turned.png", exif=exif)
    gray = Image.new("L", (9, 8), 7)
    PretrainedEmbedder(spy).fit_transform([Image.open(tmp_path / "turned.png"), gray])
    (batch,) = spy.seen
    assert batch.dtype == torch.float32 and tuple(batch.shape) == (2, 3, 8, 9)
    assert batch[0, :, -1, -1].tolist() == [255.0] * 3 and batch[0].sum() == 3 * 255
    assert (batch[1] == 7).all()


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_preprocess_is_applied_to_each_image(torch, network, pixels, paths, kind):
    def prepare(image):
        array = bytes_of(image.resize((6, 6))) / np.float64(255)
        return array if kind == "array" else torch.tensor(array)  # float64: it gets the type of the weights

    resized = np.stack([prepare(Image.fromarray(image)) for image in pixels])
    expected = PretrainedEmbedder(network).fit_transform(resized)
    Z = PretrainedEmbedder(network, preprocess=prepare).fit_transform(paths)
    np.testing.assert_allclose(Z, expected, rtol=1e-5)


def test_work_in_place_does_not_reach_pil_images(network, pictures, pixels):
    def blacken(image):
        image.paste(0, (0, 0, *image.size))
        return bytes_of(image)

    PretrainedEmbedder(network, preprocess=blacken).fit_transform(pictures)
    np.testing.assert_array_equal(np.stack([np.asarray(picture) for picture in pictures]), pixels)


def test_a_callable_gets_pil_images_or_what_preprocess_makes_of_them(pixels, pictures, paths):
    def colours(images):
        assert isinstance(images, list) and all(isinstance(image, Image.Image) for image in images)
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])

    expected = pixels.mean(axis=(1, 2))
    for encoder, preprocess in [(colours, None), (colours, Image.Image.copy), (channel_means, np.asarray)]:
        embedder = PretrainedEmbedder(encoder, preprocess=preprocess)
        for X in (pictures, paths):
            np.testing.assert_allclose(embedder.fit_transform(X), expected, rtol=1e-6)


def test_an_object_with_encode_gets_pil_images(pictures):
    class Model:
        def encode(self, images):
            return np.array([image.size for image in images])

    assert PretrainedEmbedder(Model()).fit_transform(pictures).tolist() == [[10, 9]] * 5


def test_auto_counts_the_values_of_a_prepared_image(spy, pictures):
    big = [picture.resize((512, 512)) for picture in pictures]  # 3 MB each as float32
    PretrainedEmbedder(spy, device="cpu", progress=False).fit_transform(big)
    assert [len(batch) for batch in spy.seen] == [1] * 5


def test_names_that_are_not_all_of_image_files_are_texts():
    lengths = PretrainedEmbedder(lambda texts: np.array([[len(text)] for text in texts]))
    assert lengths.fit_transform(["cat.png", "a dog"]).tolist() == [[7], [5]]


def test_suffixes_are_known_in_capitals(network, pictures, tmp_path):
    pictures[0].save(tmp_path / "A.JPG", format="JPEG")
    assert PretrainedEmbedder(network).fit_transform([str(tmp_path / "A.JPG")]).shape == (1, 16)


def test_clone_and_pickle_keep_images_working(network, paths):
    embedder = PretrainedEmbedder(network, preprocess=bytes_of)
    Z = embedder.fit_transform(paths)
    np.testing.assert_array_equal(clone(embedder).fit_transform(paths), Z)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(paths), Z)


# -----------------------------------------------------------------------------
# Cache


def test_the_cache_follows_files_by_path_size_and_time(spy, paths, tmp_path):
    embedder = PretrainedEmbedder(spy, memory=tmp_path / "cache", batch_size=10)
    embedder.fit_transform(paths)
    embedder.transform([str(path) for path in paths])
    assert len(spy.seen) == 1
    later = paths[2].stat().st_mtime_ns + 10**9
    os.utime(paths[2], ns=(later, later))
    embedder.transform(paths)
    assert len(spy.seen) == 2
    embedder.transform(paths[::-1])
    assert len(spy.seen) == 3


def test_the_cache_follows_pil_images_by_their_pixels(spy, pictures, tmp_path):
    embedder = PretrainedEmbedder(spy, memory=tmp_path, batch_size=10)
    embedder.fit_transform(pictures)
    embedder.transform([picture.copy() for picture in pictures])
    assert len(spy.seen) == 1
    pictures[1].putpixel((3, 3), (0, 0, 0))
    embedder.transform(pictures)
    assert len(spy.seen) == 2


def test_the_cache_tells_layouts_apart(spy, tmp_path):
    X = np.random.default_rng(0).normal(size=(2, 9, 10, 3))
    PretrainedEmbedder(spy, memory=tmp_path).fit_transform(X)
    PretrainedEmbedder(spy, memory=tmp_path, input_shape=(9, 10, 3)).fit_transform(X)
    assert len(spy.seen) == 2


# -----------------------------------------------------------------------------
# Bad input


def test_a_single_image_is_an_error(network, pictures, paths):
    for X in (pictures[0], paths[0]):
        with pytest.raises(TypeError, match=r"put it in a list: \[image\]"):
            PretrainedEmbedder(network).fit(X)


def test_a_missing_file_is_an_error_before_the_encoder_runs(spy, paths):
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match=r"row 3 of X names the image file '.*3\.png', which does not exist"):
        PretrainedEmbedder(spy).fit(paths)
    with pytest.raises(FileNotFoundError, match="row 1 of X"):
        PretrainedEmbedder(spy).fit([str(paths[0]), str(paths[3])])
    assert not spy.seen


@pytest.mark.parametrize("content", [b"no image", "half"])
def test_a_file_that_is_no_image_is_an_error_with_row_and_path(network, paths, content):
    paths[2].write_bytes(paths[2].read_bytes()[:100] if content == "half" else content)
    with pytest.raises(ValueError, match=r"row 2 of X, the file '.*2\.png', cannot be read as an RGB image"):
        PretrainedEmbedder(network, batch_size=1, progress=False).fit_transform(paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"row 3 of X is an image of shape \(3, 4, 4\), but row 0 has \(3, 9, 10\); bring all images to one size by",
        ),
        ({"batch_size": 3, "progress": False}, r"row 3 of X is an image of shape \(3, 4, 4\), but row 0 has \(3, 9, 10\)"),
        ({"input_shape": (3, 4, 4)}, r"row 0 of X is an image of shape \(3, 9, 10\), but input_shape is \(3, 4, 4\)"),
    ],
)
def test_images_of_several_sizes_are_an_error_that_names_the_row(network, pictures, options, message):
    pictures[3] = pictures[3].resize((4, 4))
    with pytest.raises(ValueError, match=message):
        PretrainedEmbedder(network, **options).fit_transform(pictures)


def test_preprocess_must_return_arrays_for_a_module(network, pictures):
    with pytest.raises(TypeError, match="preprocess returned a Image for row 0 of X; an array or a tensor is expected"):
        PretrainedEmbedder(network, preprocess=lambda image: image).fit(pictures)


@pytest.mark.parametrize(("row", "dtype"), [(4, np.uint16), (0, np.float32)])
def test_images_of_more_than_eight_bits_are_not_clipped_in_silence(network, pictures, row, dtype):
    pictures[row] = Image.fromarray(np.ones((9, 10), dtype))
    with pytest.raises(
        ValueError, match=rf"row {row} of X cannot be read as an RGB image: mode .* has more than 8 bits per channel"
    ):
        PretrainedEmbedder(network).fit_transform(pictures)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (lambda pictures, paths: [pictures[0], paths[0]], "X holds images, but row 1 is"),
        (lambda pictures, paths: [*paths, None], "X holds paths, but row 5 is None; fill or drop it"),
        (lambda pictures, paths: [np.nan, paths[0]], "X holds paths, but row 0 is nan"),
        (lambda pictures, paths: ["a text", Path("b.png")], "X holds texts, but row 1 is"),
    ],
)
def test_mixed_rows_are_an_error(network, pictures, paths, items, message):
    with pytest.raises(ValueError, match=message):
        PretrainedEmbedder(network).fit(items(pictures, paths))


def test_without_pillow_the_error_says_what_to_install(network, paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        PretrainedEmbedder(network).fit(paths)
