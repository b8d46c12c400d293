"""The programs of a cluster, built from one Go module that pins all of them."""

from __future__ import annotations

from pathlib import Path

from infra.services.cache import installed, place
from infra.services.tools import needed, run

__all__ = ["KWOK_VERSION", "VERSION", "build_one", "install", "programs"]

VERSION = "1.37.2"
KWOK_VERSION = "0.8.0"

_HERE = Path(__file__).parent
_ADVICE = "Kubernetes: install Go 1.26, or give NEXUS_TEST_KUBECONFIG=file"

_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "helm": "helm.sh/helm/v4/cmd/helm",
}


def _linker_flags() -> str:
    """The versions that releases carry; helm refuses a server without one."""
    major, minor, _ = VERSION.split(".")
    build = {
        "gitVersion": f"v{VERSION}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }
    versions = {
        f"{package}.{name}": value
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in build.items()
    }
    versions["sigs.k8s.io/kwok/pkg/consts.Version"] = f"v{KWOK_VERSION}"
    versions["helm.sh/helm/v4/internal/version.version"] = "v4.3.1"
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in versions.items())])


def programs() -> Path:
    """The folder of the built programs, whether or not they are there."""
    module = ((_HERE / name).read_bytes() for name in ("go.mod", "go.sum"))
    return place("kubernetes", *module, _linker_flags(), *_PACKAGES.values())


def install() -> None:
    """Build what is not built yet: some minutes and 3 GB of memory, once."""
    installed(programs(), _build)


def _build(folder: Path) -> None:
    for name in _PACKAGES:
        build_one(name, folder)


def build_one(name: str, folder: Path) -> None:
    """Build one program of the module into a folder."""
    go = needed("go", _ADVICE)
    output = f"{folder}/{name}"
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -trimpath -mod=readonly"}
    # Two at a time: the linker of the larger ones takes most of a small machine's memory.
    run(
        [go, "build", "-p", "2", "-ldflags", _linker_flags(), "-o", output, _PACKAGES[name]],
        cwd=_HERE,
        environment=environment,
    )
