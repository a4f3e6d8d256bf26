"""What is proposed when a model is too large: always under the limit, the nearest first, nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_networks import fused_with

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.limits.peak_memory import PeakMemory
from tlc_edge.compiler.limits.suggest import smaller_files, smaller_memory
from tlc_edge.compiler.records import Backbone, Fused, Lowered
from tlc_edge.runtime.bundle.manifest import ModelFile


@pytest.fixture(scope="module")
def fused(lite0: Backbone) -> Fused:
    return fused_with(shave(lite0))


def lowered(scheme: str, size: int, form: str = "tflite") -> Lowered:
    return Lowered(ModelFile(f"model.{form}", form, scheme, size), b"")


def proposed(file: Lowered, fused: Fused, limit: int, full_int8: bool = False) -> list[str]:
    found = smaller_files(file, fused, limit, full_int8)
    assert all(s.bytes <= limit for s in found)
    return [s.options for s in found]


def test_another_scheme_the_most_exact_that_fits(fused: Fused) -> None:
    float32 = lowered("float32", 13_500_000)
    assert proposed(float32, fused, 8_000_000)[0] == "--scheme float16"
    assert proposed(float32, fused, 5_000_000)[0] == "--scheme int8"
    # An int8 file has none that is smaller, and a target of int8 alone has no other.
    assert not [o for o in proposed(lowered("int8", 4_000_000), fused, 2_000_000) if "--scheme" in o]
    assert not [o for o in proposed(float32, fused, 8_000_000, full_int8=True) if "--scheme" in o]


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8", "int16x8", "mixed"])
def test_every_scheme_that_a_file_can_have(fused: Fused, scheme: str) -> None:
    assert proposed(lowered(scheme, 14_000_000), fused, 1_500_000)


def test_an_earlier_cut_the_latest_that_fits(fused: Fused) -> None:
    def layer(limit: int) -> str:
        (options,) = [o for o in proposed(lowered("int8", 4_000_000), fused, limit) if "--shave" in o]
        return options.split()[-1]

    large, small = layer(2_000_000), layer(500_000)
    assert large > small  # block6… comes after block4…
    for name in (large, small):
        assert shave(fused.trunk.backbone, name).layer == name


def test_a_smaller_backbone(fused: Fused) -> None:
    assert "--backbone keras:MobileNet --alpha 0.25" in proposed(lowered("int8", 4_000_000), fused, 500_000)
    assert proposed(lowered("int8", 4_000_000), fused, 3_500_000)[-1].startswith("--backbone ")


def test_nothing_is_proposed_where_nothing_fits(fused: Fused) -> None:
    assert proposed(lowered("int8", 4_000_000), fused, 5_000) == []


def memory(peak: PeakMemory, fused: Fused, limit: int, scheme: str = "int8", full_int8: bool = False) -> list[str]:
    found = smaller_memory(peak, lowered(scheme, 4_000_000), fused, limit, full_int8)
    assert all(s.bytes <= limit for s in found)
    return [s.options for s in found]


def test_a_smaller_input_the_largest_that_fits(fused: Fused) -> None:
    peak = PeakMemory(1_700_000, 1_500_000, "tflite-micro")
    assert memory(peak, fused, 1_500_000) == ["--input-size 192x192"]
    assert memory(peak, fused, 700_000) == ["--input-size 96x96"]
    # What does not shrink with the input is above the limit alone.
    assert memory(peak, fused, 150_000) == []


def test_int8_where_it_is_not_yet_and_the_small_network_for_microcontrollers(fused: Fused) -> None:
    peak = PeakMemory(6_200_000, 6_000_000, "tflite-micro")
    assert "--scheme int8" in memory(peak, fused, 2_000_000, scheme="float32")
    micro = memory(replace(peak, bytes=1_700_000, activations=1_500_000), fused, 196_608, full_int8=True)
    assert micro == ["--backbone keras:MobileNet --alpha 0.25 --input-size 96x96"]
