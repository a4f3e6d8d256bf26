"""A site: what is in it, what is refused before it is written, and where its libraries come from."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tlc_edge.compiler.site import vendor
from tlc_edge.compiler.site.site import check_site, first_load, make_site, write_site
from tlc_edge.compiler.site.vendor import LIBRARIES, Library, vendored
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.errors import BuildError, BundleError, UsageError

OTHERS = {
    "lib/litert/wasm/litert_wasm_internal.wasm": b"one" * 5000,
    "lib/litert/wasm/litert_wasm_compat_internal.wasm": b"other" * 5000,
    "lib/sqlite/index.js": b"sqlite",
}


@pytest.fixture(scope="module")
def contents(request: pytest.FixtureRequest) -> dict[str, bytes]:
    built: Path = request.getfixturevalue("built_bundle")
    return make_site(Bundle.open(built), OTHERS)


def listed(contents: dict[str, bytes]) -> dict[str, dict[str, object]]:
    found = re.search(r"const FILES = (\{.*?\n\});", contents["sw.js"].decode(), re.DOTALL)
    assert found is not None
    files: dict[str, dict[str, object]] = json.loads(found[1])
    return files


def test_the_worker_lists_every_file_as_it_is(contents: dict[str, bytes]) -> None:
    files = listed(contents)
    assert set(files) == {name for name in contents if not name.endswith(".gz")} - {"sw.js"}
    for name, said in files.items():
        assert said["hash"] == hashlib.sha256(contents[name]).hexdigest()
        assert said["packed"] == (f"{name}.gz" in contents)
        assert said["late"] == name.startswith("lib/litert/wasm/")
    packed = [name for name in contents if name.endswith(".gz")]
    assert all(gzip.decompress(contents[name]) == contents[name[:-3]] for name in packed)
    assert {"index.html", "app.webmanifest", "page/app.js", "runtime/classifier.js"} <= set(files)


def test_the_page_is_told_that_the_runtime_is_in_the_browser(contents: dict[str, bytes]) -> None:
    assert json.loads(contents["site.json"]) == {"mode": "browser"}
    assert not [name for name in contents if name.startswith("client/")]


def test_the_page_asks_for_nothing_that_is_not_there(contents: dict[str, bytes]) -> None:
    named = re.findall(r'(?:src|href)="([^"#]+)"', contents["index.html"].decode())
    assert named
    assert [name for name in named if name not in contents] == []


def test_the_bundle_in_it_has_what_a_page_reads_and_no_pictures(contents: dict[str, bytes], built_bundle: Path) -> None:
    bundle = Bundle.open(built_bundle)
    inside = {name.removeprefix("bundle/") for name in contents if name.startswith("bundle/")}
    inside = {name for name in inside if not name.endswith(".gz")}
    assert {"manifest.json", "manifest.sha256", "model.tflite", "golden/00.png"} <= inside
    assert not inside & {"report.html", "report.json", "model.onnx", "golden/01.png"}
    own = {"manifest.sha256", "golden/sharpness.json"}
    assert all(contents[f"bundle/{name}"] == bundle.files[name] for name in inside - own)
    images = [name for name in bundle.files if name.startswith("golden/") and name.endswith(".png")]
    assert len(json.loads(contents["bundle/golden/sharpness.json"])) == len(images) > 1


def test_another_file_is_another_version_and_the_same_files_are_the_same_site(built_bundle: Path) -> None:
    bundle = Bundle.open(built_bundle)
    assert make_site(bundle, OTHERS) == make_site(bundle, OTHERS)
    changed = make_site(bundle, {**OTHERS, "lib/sqlite/index.js": b"another"})
    versions = [
        re.search(r'const VERSION = "(\w+)"', c["sw.js"].decode()) for c in (changed, make_site(bundle, OTHERS))
    ]
    assert versions[0] is not None
    assert versions[1] is not None
    assert versions[0][1] != versions[1][1]


def test_a_first_load_counts_one_engine_and_what_is_packed_as_that(contents: dict[str, bytes]) -> None:
    without = {n: d for n, d in contents.items() if "compat" not in n}
    assert first_load(contents) == first_load(without)
    assert first_load(contents) < sum(len(d) for n, d in without.items() if not n.endswith(".gz"))


def test_a_bundle_without_a_tflite_file_is_refused(built_bundle: Path) -> None:
    bundle = Bundle.open(built_bundle)
    onnx = tuple(m for m in bundle.manifest.models if m.format == "onnx")
    with pytest.raises(BuildError, match="no TFLite file in it, which a page runs"):
        make_site(replace(bundle, manifest=replace(bundle.manifest, models=onnx)), OTHERS)


@pytest.mark.parametrize(
    ("target", "taken"), [("coral", False), ("mcu", False), ("android", True), ("of my own", True)]
)
def test_a_bundle_for_int8_alone_is_refused(target: str, taken: bool, built_bundle: Path) -> None:
    bundle = Bundle.open(built_bundle)
    other = replace(bundle, manifest=replace(bundle.manifest, target={"name": target}))
    if taken:
        assert make_site(other, OTHERS)
        return
    with pytest.raises(BuildError, match=f"built for {target}, whose file .* no browser runs; build it with --target"):
        make_site(other, OTHERS)


def test_only_an_earlier_site_is_replaced_and_only_when_asked(contents: dict[str, bytes], tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_site(site, contents)
    with pytest.raises(UsageError, match="exists already; choose another -o"):
        check_site(site, False)
    write_site(site, {**contents, "page/new.js": b"new"}, force=True)
    assert (site / "page" / "new.js").is_file()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="does not replace it"):
        write_site(tmp_path / "photos", contents, force=True)
    assert {p.name for p in tmp_path.iterdir()} == {"site", "photos"}
    with pytest.raises(BundleError, match="no such folder to write"):
        check_site(tmp_path / "gone" / "site", False)


class TestVendored:
    def test_an_archive_that_is_not_in_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=re.escape("not there; get it with `npm pack @litertjs/core@2.5.3` there")):
            vendored(tmp_path, "off")

    def test_another_archive_of_that_name(self, tmp_path: Path) -> None:
        (tmp_path / LIBRARIES[0].archive).write_bytes(b"another")
        with pytest.raises(BuildError, match=r"not the @litertjs/core 2\.5\.3 that tlc was made with; delete it"):
            vendored(tmp_path, "off")

    def test_what_npm_gives_is_checked_before_it_is_kept(self, tmp_path: Path) -> None:
        def fetch(library: Library, folder: Path) -> None:
            (folder / library.archive).write_bytes(b"another")

        with pytest.raises(BuildError, match="that tlc was made with"):
            vendored(None, str(tmp_path), fetch)
        assert list((tmp_path / "web").iterdir()) == []

    def test_without_a_cache(self) -> None:
        with pytest.raises(BuildError, match="kept in the cache, which is off; give their folder with --vendor DIR"):
            vendored(None, "off")

    @pytest.mark.parametrize(
        ("program", "said"),
        [("no-npm-of-that-name", "which is not here; install npm"), ("false", "npm cannot get @litertjs/core@2.5.3")],
    )
    def test_without_npm(self, program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vendor, "_NPM", program)
        with pytest.raises(BuildError, match=said) as error:
            vendored(None, str(tmp_path))
        assert "--vendor DIR" in str(error.value)

    def test_without_zopfli_it_is_packed_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zopfli.gzip", None)
        packed = vendor._packed(b"data" * 1000, None)
        assert gzip.decompress(packed) == b"data" * 1000

    def test_comments_go_and_code_stays(self) -> None:
        head = b"/* licence */\nlet a = 1; /* kept */\n"
        script = head + b"/* gone\n * too */\n// gone\nlet url = 'x//y';\n\t/* gone */\nb();\n"
        kept = head + b"let url = 'x//y';\nb();\n"
        assert vendor._without_comments(script) == kept


def test_the_command_says_it_in_a_sentence(built_bundle: Path, tmp_path: Path) -> None:
    def failed(*words: str) -> str:
        code = "import sys; from tlc_edge.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", code, "site", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout) == (1, "") or done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no such bundle" in failed("none.tlc", "--vendor", ".")
    assert "not there; get it with `npm pack" in failed(str(built_bundle), "--vendor", ".")
    assert list(tmp_path.iterdir()) == []
