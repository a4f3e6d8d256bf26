#!/usr/bin/env bash
# A bundle on the real software of a Raspberry Pi, emulated: Debian bookworm's own Python 3.11, numpy 1.24 and
# Pillow 9.4 for 64 and 32 bits, the engine's real wheels, and tlc's wheel; run by QEMU on this machine.
#
#   benchmarks/emulated_pi.sh BUNDLE [CACHE]
#
# BUNDLE is one made for `rpi`. CACHE keeps QEMU and the two systems (0.35 GB); by default it is
# ${XDG_CACHE_HOME:-~/.cache}/tlc/emulated-pi. In each system `tlc selftest`, `predict` and `enroll` must succeed, and
# what was enrolled must then be recognised. It proves that the numbers are right, and nothing about speed.
#
# Needs Debian (apt-get, dpkg-deb, its archive keyring) and a $PYTHON with pip, numpy and Pillow; root is not needed, and
# nothing is installed. $SYSTEMS chooses: `arm64`, `armhf`, or both, the default. Exit codes: 0 all passed, 1 something
# failed, 2 wrong usage, 75 it cannot run here: no Debian, or an archive that does not answer.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
systems=${SYSTEMS:-arm64 armhf}
suite=bookworm
engine=tflite-runtime==2.14.0

fail() { # MESSAGE [EXIT CODE]
  echo "emulated_pi: $1" >&2
  exit "${2:-1}"
}

(($# == 1 || $# == 2)) || fail "usage: benchmarks/emulated_pi.sh BUNDLE [CACHE]" 2
[[ -e $1 ]] || fail "$1: no such bundle" 2
for system in $systems; do
  [[ $system == arm64 || $system == armhf ]] || fail "there is no system $system; choose arm64 or armhf" 2
done
bundle=$(realpath "$1")
cache=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/tlc/emulated-pi}
for tool in apt-get dpkg-deb; do
  type -P "$tool" >/dev/null || fail "$tool is not here; this needs a Debian machine" 75
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -e $keys ]] || fail "$keys is not here; install debian-archive-keyring" 75
# The archive that this machine itself uses.
mirror=${DEBIAN_MIRROR:-$(apt-get update --print-uris | sed -n "s#^'\(.*/debian\)/*/dists/.*#\1#p" | head -n 1)}
[[ $mirror ]] || fail "apt knows no Debian archive; set DEBIAN_MIRROR to the address of one" 75
mkdir -p "$cache"
cache=$(realpath "$cache")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Debian packages of a foreign architecture with all that they need, through an apt of its own: no root is needed, and
# the machine's apt learns nothing of it.
fetch_debs() { # ARCHITECTURE FOLDER PACKAGE…
  local arch=$1 folder=$2
  shift 2
  mkdir -p "$folder"/{lists,archives}/partial "$folder/none"
  : >"$folder/status"
  echo "deb [arch=$arch signed-by=$keys] $mirror $suite main" >"$folder/sources.list"
  local options=(
    -o "Dir::State=$folder" -o "Dir::State::status=$folder/status" -o "Dir::Cache=$folder"
    -o "Dir::Etc::sourcelist=$folder/sources.list" -o "Dir::Etc::sourceparts=$folder/none"
    -o "Dir::Etc::preferencesparts=$folder/none" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
    -o APT::Install-Recommends=0 -o Acquire::Languages=none -o APT::Sandbox::User= -o Debug::NoLocking=1
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any
  )
  apt-get -qq "${options[@]}" update || fail "the Debian archive does not answer" 75
  apt-get -qq "${options[@]}" --yes --download-only install "$@" || fail "cannot get $* for $arch" 75
}

# The emulator: this machine's, or taken out of its package.
emulator() { # NAME
  type -P "$1" && return
  if [[ ! -x $cache/qemu/usr/bin/$1 ]]; then
    fetch_debs "$(dpkg --print-architecture)" "$work/qemu" qemu-user-static >&2
    mkdir -p "$cache/qemu" # of forty emulators the two
    dpkg-deb --fsys-tarfile "$work"/qemu/archives/qemu-user-static_*.deb |
      tar -x -C "$cache/qemu" ./usr/bin/qemu-aarch64-static ./usr/bin/qemu-arm-static
  fi
  echo "$cache/qemu/usr/bin/$1"
}

# A system: the packages laid out, never configured, which a Python that is called by its full path does not miss.
make_system() { # ARCHITECTURE
  local root=$cache/$1 made=$work/made-$1 platform
  [[ -e $root/ready ]] && return
  case $1 in
    arm64) platform=manylinux_2_34_aarch64 ;;
    armhf) platform=manylinux_2_34_armv7l ;;
  esac
  echo "making Debian $suite $1 in $root" >&2
  fetch_debs "$1" "$made/apt" python3 python3-numpy python3-pil python3-click >&2
  local deb
  for deb in "$made"/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$made"
  done
  "$python" -m pip download -q --no-deps --only-binary=:all: --platform "$platform" --python-version 3.11 \
    -d "$made/wheels" "$engine" >&2 || fail "cannot get $engine for $platform" 75
  "$python" -m zipfile -e "$made"/wheels/*.whl "$made/site"
  rm -rf "$made/apt" "$made/wheels" "$root"
  touch "$made/ready"
  mv "$made" "$root" # whole, or not there
}

# tlc as pip would install it; built from a copy, as the build leaves files beside its sources.
make_wheel() {
  mkdir "$work/source"
  cp -r "$here"/{api,cli,compiler,runtime,targets,web,pyproject.toml,README.md,LICENSE} "$work/source"
  "$python" -m pip wheel -q --no-deps -w "$work/wheel" "$work/source" >&2 || fail "cannot build tlc's wheel"
  "$python" -m zipfile -e "$work"/wheel/tlc_edge-*.whl "$work/tlc"
}

# Runs Python in a system. Always with -cpu: QEMU's default has instructions that give wrong int8 numbers.
in_system() { # ARCHITECTURE ARGUMENT…
  local root=$cache/$1 qemu cpu triplet
  case $1 in
    arm64) qemu=qemu-aarch64-static cpu=cortex-a72 triplet=aarch64-linux-gnu ;;
    armhf) qemu=qemu-arm-static cpu=cortex-a7 triplet=arm-linux-gnueabihf ;;
  esac
  shift
  local libraries=$root/usr/lib/$triplet
  # BLAS and LAPACK lie in folders that only configuring the packages would make known.
  "$(emulator $qemu)" -cpu $cpu -L "$root" \
    -E "LD_LIBRARY_PATH=$libraries:$libraries/blas:$libraries/lapack" -E "PYTHONHOME=$root/usr" \
    -E "PYTHONPATH=$work/tlc:$root/site:$root/usr/lib/python3/dist-packages" -E "PYTHONPYCACHEPREFIX=$work/compiled" \
    -E "HOME=$work/home" -E "XDG_CACHE_HOME=$work/home" -E LC_ALL=C.UTF-8 -E OPENBLAS_NUM_THREADS=1 \
    "$root/usr/bin/python3.11" -W error "$@"
}

tlc() { # ARCHITECTURE ARGUMENT…
  local arch=$1
  shift
  echo "\$ tlc $*"
  in_system "$arch" -c 'import sys; from tlc_edge.cli import main; sys.exit(main())' "$@"
}

check_system() { # ARCHITECTURE
  echo "── $1"
  in_system "$1" -c '
import platform, numpy, PIL, click
print(f"Python {platform.python_version()} on {platform.machine()}, numpy {numpy.__version__}, "
      f"Pillow {PIL.__version__}, click {click.__version__}")
assert platform.python_version_tuple()[:2] == ("3", "11") and platform.machine() in ("aarch64", "armv7l")
assert numpy.__version__.startswith("1.24.") and PIL.__version__.startswith("9.4.")'
  mkdir -p "$work/$1"
  cd "$work/$1"
  cp -r "$bundle" bundle.tlc
  cp "$work"/images/*.png .
  tlc "$1" selftest bundle.tlc || fail "$1: the self-test failed"
  tlc "$1" predict bundle.tlc 00.png 01.png || fail "$1: predict failed"
  tlc "$1" enroll bundle.tlc thing 00.png || fail "$1: enroll failed"
  tlc "$1" predict bundle.tlc 00.png | tee said || fail "$1: predict failed after enroll"
  grep -q '^00\.png: thing ' said || fail "$1: what was enrolled is not recognised"
  cd /
}

make_wheel
PYTHONPATH=$work/tlc "$python" - "$bundle" "$work/images" <<'PYTHON'
import pathlib, sys
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.engines.golden import golden_name
bundle, folder = Bundle.open(sys.argv[1]), pathlib.Path(sys.argv[2])
folder.mkdir()
for i in range(2):
    (folder / pathlib.Path(golden_name(i)).name).write_bytes(bundle.read(golden_name(i)))
PYTHON
for system in $systems; do
  make_system "$system"
  check_system "$system"
done
echo "all passed: $systems"
