"""The files that the docs pages load: what was published, whole, and with their licences."""

import gzip
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.pages import DOCS_PAGE, FINGERPRINTS, REDOC_PAGE, STATIC_DIR

OWN_FILES = {"docs.js", "pages.css"}
VENDORED = {
    file: (package, digest)
    for package, _version, file, digest in (
        line.split() for line in (STATIC_DIR / "VERSIONS").read_text().splitlines() if not line.startswith("#")
    )
}


@pytest.mark.parametrize("file", sorted(VENDORED))
def test_vendored_file__is_as_published(file: str) -> None:
    assert sha256((STATIC_DIR / file).read_bytes()).hexdigest() == VENDORED[file][1]


def test_static_folder__holds_nothing_of_unknown_origin() -> None:
    compressed = {path.name for path in STATIC_DIR.glob("*.gz")}
    present = {path.name for path in STATIC_DIR.iterdir()} - compressed - {"VERSIONS"}
    assert present == set(VENDORED) | OWN_FILES
    assert {name.removesuffix(".gz") for name in compressed} == {f for f in VENDORED if f.endswith((".js", ".css"))}


@pytest.mark.parametrize("path", sorted(STATIC_DIR.glob("*.gz")), ids=str)
def test_compressed_file__holds_the_same_bytes(path: Path) -> None:
    assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


@pytest.mark.parametrize("package", sorted({package for package, _ in VENDORED.values()}))
def test_vendored_package__comes_with_its_licence(package: str) -> None:
    assert f"{package}.LICENSE.txt" in VENDORED


@pytest.mark.parametrize("page", [DOCS_PAGE, REDOC_PAGE], ids=["docs", "redoc"])
def test_page__names_no_other_host_and_no_inline_script(page: str) -> None:
    assert "//" not in page.replace("<!doctype html>", "")
    assert page.count("<script") == page.count('<script src="/static/')


def test_served_files__are_scripts_styles_and_licences() -> None:
    assert set(FINGERPRINTS) == set(VENDORED) | OWN_FILES
