"""What can be said of the image without building it; `make test-image` builds it, and looks inside."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import nexus
from api import openapi
from infra.image import __main__ as image
from infra.image.builders import BuilderError, Engine, Run, builder
from infra.image.trim import UNUSED, strip, trim

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
BUILT, SHIPPED = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def test_all_stages_begin_with_one_base_whose_name_every_builder_resolves():
    others = (ROOT / "infra" / "image" / "tests.Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE + others, re.MULTILINE)) - {"$IMAGE"}
    (base,) = bases
    assert base.startswith("docker.io/library/python:")
    assert f"org.opencontainers.image.base.name={base}" in SHIPPED


def test_what_is_shipped_is_labelled_and_runs_as_nobody_in_particular():
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in SHIPPED
    assert re.search(r"^USER [1-9]\d*$", SHIPPED, re.MULTILINE)
    assert "--gid 0" in SHIPPED  # as OpenShift runs it, as a user that the image does not know
    assert 'ENTRYPOINT ["nexus"]' in SHIPPED
    assert "HEALTHCHECK" in SHIPPED


def test_what_builds_it_stays_out_of_it():
    assert re.findall(r"^COPY .*", SHIPPED, re.MULTILINE) == ["COPY --from=build /opt/nexus /opt/nexus"]
    assert "--without-pip /opt/nexus" in BUILT
    assert "sbom.cdx.json" in BUILT


def test_the_names_that_are_kept_are_those_of_the_libraries_here():
    """An upgrade that moves what is kept shows here, before an image is built of it."""
    packages = Path(sysconfig.get_path("purelib"))
    for pattern, kept in UNUSED.items():
        found = {path.name for path in packages.glob(pattern)}
        assert kept <= found, pattern


def test_the_assets_that_the_page_names_are_kept():
    asked = set(re.findall(r"/docs/assets/([^\"]+)", openapi._PAGE))
    assert asked
    assert asked <= UNUSED["swagger_ui/static/*"]


def made(folder: Path) -> None:
    for pattern, kept in UNUSED.items():
        place = folder / pattern.rpartition("/")[0]
        place.mkdir(parents=True)
        for name in {*kept, "unused"}:
            (place / name).write_text("")


def test_trimming_leaves_what_is_kept(tmp_path):
    made(tmp_path)
    (tmp_path / "botocore" / "data" / "ec2").mkdir()
    (tmp_path / "other").write_text("")
    trim(tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set().union(*UNUSED.values()) | {"other"}


@pytest.mark.parametrize("missing", ["botocore/data/s3", "faker/unused"])
def test_a_library_that_has_changed_fails_the_build(tmp_path, missing):
    made(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(SystemExit, match=missing.partition("/")[0]):
        trim(tmp_path)


def test_a_library_without_what_debuggers_read_is_loaded(tmp_path):
    library = Path(shutil.copy(Path(yaml._yaml.__file__), tmp_path))
    before = library.stat().st_size
    strip(library)
    assert library.stat().st_size <= before  # less, but where it is what the image has
    load = f"import importlib.util as u; print(u.module_from_spec(u.spec_from_file_location('yaml._yaml', {str(library)!r})))"
    assert str(library) in subprocess.check_output([sys.executable, "-c", load], text=True)


def test_what_is_no_library_is_left_as_it_is(tmp_path):
    file = tmp_path / "some.so.txt"
    file.write_text("no shared object")
    strip(file)
    assert file.read_text() == "no shared object"


class Recording:
    """A builder that keeps what it was asked to build, and the secrets that it was given for that time."""

    def build(self, build):
        self.build = build
        self.pip = build.secrets["pip.conf"].read_text()

    def command(self, run):
        raise NotImplementedError


def test_it_is_built_under_the_name_that_the_chart_and_compose_have(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    builds = Recording()
    assert image.build_image(builds) == f"nexus:{nexus.__version__}"
    values = yaml.safe_load((ROOT / "infra" / "helm" / "nexus" / "values.yaml").read_text())
    assert builds.build.tags == [f"{values['image']['repository']}:{nexus.__version__}", "nexus:latest"]
    assert builds.build.arguments["VERSION"] == nexus.__version__
    assert "index-url = https://packages.example/simple" in builds.pip
    assert not builds.build.secrets["pip.conf"].exists()


def test_without_a_builder_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["image"])
    assert image.main() == 1
    assert "neither Docker, Podman nor Buildah answers" in capsys.readouterr().err
    with pytest.raises(BuilderError, match="install one"):
        builder()


def test_who_answers_builds(tmp_path, monkeypatch):
    """Docker's command alone is no engine."""
    for program, code in {"docker": 1, "podman": 0, "buildah": 0}.items():
        script = tmp_path / program
        script.write_text(f"#!/bin/sh\n[ $1 = info ] && exit {code}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert builder() == Engine("podman")


def test_a_container_writes_nowhere_but_to_its_temporary_files(tmp_path):
    run = Run("nexus:1", ["api"], 12345, {"NEXUS__A__B": "c"}, {"kubeconfig": tmp_path})
    with Engine("docker").command(run) as command:
        assert command[:2] == ["docker", "run"]
        assert command[-2:] == ["nexus:1", "api"]
        said = " ".join(command)
    assert "--read-only --tmpfs /tmp:exec" in said
    assert "--user 12345:0" in said
    assert "--env NEXUS__A__B=c" in said
    assert f"--volume {tmp_path}:/tmp/kubeconfig:ro" in said
