"""What each kind of input may cost at most, from the constants that bound it."""

from __future__ import annotations

from tlc_edge.compiler.backbones import onnx_file
from tlc_edge.compiler.data.forms import address, archive, npz
from tlc_edge.compiler.weights import extent, read_confined, read_hdf5, rehearse
from tlc_edge.runtime.errors import LONGEST
from tlc_edge.runtime.gallery import file as gallery_file
from tlc_edge.runtime.images import bounds, given, named
from tlc_edge.runtime.labels import MAX_LABEL
from tlc_edge.runtime.signing import minisign
from tlc_edge.runtime.watch import snapshots

from .markdown import table

_STEPS = gallery_file._PORTION * gallery_file.LEAST_PORTIONS
_A_BYTE = gallery_file._PORTION // gallery_file.BYTES_A_PORTION

COSTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "a bundle",
        "its own size, each byte once; its arrays no more than their file",
        "one hash of each byte",
        "nothing",
        "test_costs:test_members_that_lie_over_each_other_are_no_bundle",
    ),
    (
        "a gallery",
        f"{gallery_file._LIMITS[0][1] >> 20} MiB a value",
        f"{_STEPS // 10**6} million steps of SQLite's machine an operation, and {_A_BYTE} for each byte of the file",
        "nothing; `recover`: twice its size",
        "test_gallery_strangers:test_pages_that_hold_rows_without_end_are_given_up",
    ),
    (
        "a picture",
        f"{bounds.MAX_MEMORY >> 20} MiB, from a file of {given.MAX_BYTES >> 20} MiB at most; "
        f"{named.MAX_MEMBER >> 20} MiB in a .zip",
        f"{bounds.MAX_PIXELS:,} pixels decoded, {bounds._MAX_ENCODED:,} gone through; "
        f"{bounds._MAX_SCANS} scans of a JPEG",
        "nothing",
        "test_images_given:test_what_would_take_too_much_memory_is_refused_before",
    ),
    (
        "`.h5`, `.keras`: their weights",
        f"{read_confined.budget_for(0) >> 20} MiB of arrays, or {read_confined.budget_for(1 << 40) >> 40} times the "
        "file; the process that reads them three times that, and 256 MiB",
        f"{read_hdf5._SECONDS} s of the processor, {read_confined.SECONDS} s of waiting",
        "`.keras`: a copy of the arrays, for as long as they are loaded",
        "test_confined:test_what_is_no_plain_array_is_refused_by_its_name",
    ),
    (
        "a network's configuration",
        f"a text of {extent.LONGEST_TEXT >> 20} MiB; twice the parameters that the file holds, and "
        f"{extent.SPARE_PARAMETERS:,}",
        f"{extent.MOST_LAYERS:,} layers, each as often as it is used; {extent.LARGEST_TENSOR:,} numbers from a layer "
        "for one image",
        "nothing",
        "test_extent:test_what_asks_for_too_much_is_told_before_it_is_made",
    ),
    (
        "a SavedModel, a checkpoint",
        f"{rehearse._LEAST_MEMORY >> 30} GiB, eight times the files, and {rehearse._THREAD >> 20} MiB for each core, "
        "in the process that tries it",
        f"{rehearse.SECONDS} s of the processor and of waiting; then as long again",
        "nothing",
        "test_rehearse:test_however_it_ends_it_is_a_sentence",
    ),
    (
        "an ONNX file",
        f"{rehearse._LEAST_MEMORY >> 30} GiB, eight times the files, {8 * onnx_file._EACH_PIXEL // 1000} kB for each "
        f"pixel of its image ({onnx_file._LARGE[0]}x{onnx_file._LARGE[1]}, or --input-size), and "
        f"{rehearse._THREAD >> 20} MiB for each core, in the process that tries it",
        f"{rehearse.SECONDS} s of the processor and of waiting; then as long again",
        "nothing",
        "test_rehearse:test_an_onnx_file_whose_constants_take_all_memory_is_told",
    ),
    (
        "TensorFlow.js",
        "each shard once; four times its bytes where it is quantized",
        "as a network's configuration",
        "nothing",
        "test_extent:test_lists_of_shards_that_lie",
    ),
    (
        "an archive of images",
        "one image",
        f"{archive.MAX_FILES:,} files",
        f"{archive.MAX_UNPACKED >> 30} GiB, and nine tenths of what is free; {archive.MAX_BYTES >> 20} MiB a file",
        "test_data_archive:test_what_unpacks_to_too_much_is_refused",
    ),
    (
        "a `.npz` of images",
        f"{npz.MAX_UNPACKED >> 30} GiB",
        "one pass",
        "nothing",
        "test_costs:test_an_npz_that_unpacks_to_too_much",
    ),
    (
        "an address",
        "one piece at a time",
        "as long as it sends",
        f"{address.MAX_BYTES >> 30} GiB",
        "test_costs:test_a_download_that_is_too_long_is_broken_off",
    ),
    (
        "a photo of an address, watched",
        f"{snapshots._LARGEST // 10**6} MB",
        f"{snapshots._TIMEOUT:.0f} s without a byte",
        "nothing",
        "test_costs:test_a_photo_that_never_ends",
    ),
    (
        "a key or a signature",
        f"{minisign.LONGEST:,} bytes",
        "one check",
        "nothing",
        "test_costs:test_a_key_is_not_longer_than_a_key",
    ),
    (
        "a label; a message on the terminal",
        f"{MAX_LABEL} characters; {LONGEST} characters",
        "",
        "",
        "test_hostile_texts:test_one_rule_for_labels_wherever_they_come_from",
    ),
)
"""Input, memory, time, disk, and the test that holds it: its file and its name."""


def costs_table() -> str:
    """Return the table, without the tests."""
    return table(("input", "memory", "time", "disk"), [row[:4] for row in COSTS])
