"""Networks of timm, exported by PyTorch in an environment of its own: tlc's features are PyTorch's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clients import client, run

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.options import Asked
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine

pytestmark = pytest.mark.slow

REQUIREMENTS = [
    *(
        "torch==2.13.0+cpu",
        "torchvision==0.28.0",
        "timm==1.0.31",
        "onnx==1.23.2",
        "onnxscript",
        "onnx-ir",
        "numpy==2.4.6",
    ),
    *("filelock", "typing-extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "pyyaml"),
    *("huggingface-hub", "safetensors", "protobuf", "ml-dtypes", "packaging", "tqdm", "requests", "pillow"),
    *("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "sniffio", "click", "typer", "setuptools"),
]
NETWORKS = ("hgnetv2_b0", "semnasnet_100", "resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "convnext_atto")

# The wheel of torchvision was made for another build of PyTorch; timm wants its transforms, not its operations.
BEGIN = """
import torch
for op in ("nms", "qnms"):
    torch.library.define(f"torchvision::{op}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
EXPORT = f"""{BEGIN}
import json, sys
import numpy as np, timm

folder, name, newer = sys.argv[1], sys.argv[2], sys.argv[3] == "newer"
torch.manual_seed(0)
net = timm.create_model(name, pretrained=False).eval()
for module in net.modules():  # as after training: statistics that are not those of the start
    if isinstance(module, torch.nn.BatchNorm2d):
        module.running_mean.normal_(0, 0.1); module.running_var.uniform_(0.5, 1.5)
        module.weight.data.uniform_(0.5, 1.5); module.bias.data.normal_(0, 0.1)
size = net.default_cfg["input_size"]
images = np.random.default_rng(0).integers(0, 256, (4, *size[1:], 3), np.uint8)
mean, std = (torch.tensor(net.default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
with torch.no_grad():
    features = net.forward_features(x)
    # A feature map is averaged; of tokens, it is what the classifier reads.
    features = features.mean((2, 3)) if features.ndim == 4 else net.forward_head(features, pre_logits=True)
if newer:
    given = {{"dynamo": True}}
else:
    given = {{"dynamo": False, "dynamic_axes": {{"image": {{0: "n"}}}}, "input_names": ["image"]}}
torch.onnx.export(net, (torch.zeros(1, *size),), f"{{folder}}/{{name}}.onnx", **given)
np.savez(f"{{folder}}/{{name}}.npz", images=images, features=features.numpy())
print(json.dumps(net.default_cfg["mean"]))
"""


@pytest.fixture(scope="module")
def torch(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with PyTorch and timm."""
    return client(pytestconfig, "torch-2.13", REQUIREMENTS, "torch")


@pytest.mark.parametrize(
    ("name", "exporter"),
    [*((name, "older") for name in NETWORKS), *((name, "newer") for name in ("resnet18", "vit_tiny_patch16_224"))],
)
def test_features_are_those_of_pytorch(torch: Path, tmp_path: Path, name: str, exporter: str) -> None:
    done = run(torch, EXPORT, str(tmp_path), name, exporter)
    assert done.returncode == 0, done.stderr[-2000:]
    mean = json.loads(done.stdout.splitlines()[-1])
    backbone = load_backbone(
        str(tmp_path / f"{name}.onnx"), Asked(pixels="-1..1" if mean == [0.5, 0.5, 0.5] else "imagenet")
    )
    trunk = shave(backbone)
    engine = OnnxEngine("onnxruntime", "onnxruntime", lower_trunk_onnx(trunk).data, 2, ["features"])
    with np.load(tmp_path / f"{name}.npz") as saved:
        images, wanted = saved["images"], saved["features"]
    found = np.stack([engine.run(image)[0] for image in images])
    assert found.shape == wanted.shape
    worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    print(f"{name}, {exporter} exporter: {worst:.1e}")
    assert worst < 1e-3
    apart = np.abs(wanted - wanted[::-1]).max() / np.abs(wanted).max()
    assert apart > 10 * worst  # images differ by more than that
