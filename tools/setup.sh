#!/bin/bash
# Installs the Debian packages that are missing: tools/setup.sh build | test
# Does nothing, and needs no network, when all of them are there.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-build}
case $kind in
build) wanted='^BUILD ' ;;
test) wanted='^(BUILD|TEST) ' ;;
*)
    echo "usage: tools/setup.sh build|test" >&2
    exit 2
    ;;
esac

missing=()
for package in $(grep -E "$wanted" tools/packages.txt | cut -d' ' -f2); do
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "These packages are missing, and neither root nor sudo is at hand: ${missing[*]}" >&2
        exit 1
    }
    sudo=sudo
fi
echo "Installing: ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
