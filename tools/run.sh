#!/bin/bash
# Builds ringmx and shows it at work: a server for example.org where alice is local and everybody else
# still lives on another system ("source", a sink that comes with the project).
set -euo pipefail
cd "$(dirname "$0")/.."

port=2525 sink_port=2526 data=build/demo once= cores=
usage() {
    cat <<TEXT
usage: tools/run.sh [--once] [--port N] [--sink-port N] [--data DIR] [--cores N]
  --once         end after the demonstration; exit code 0 only if both copies arrived unchanged
  --port N       SMTP port on 127.0.0.1 (default 2525)
  --sink-port N  port of the other mail system (default 2526)
  --data DIR     data folder, made anew (default build/demo)
  --cores N      threads of the server (default: one per CPU)
TEXT
}
while [ $# -gt 0 ]; do
    case $1 in
    --once) once=1 ;;
    --port | --sink-port | --data | --cores)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        declare "$(echo "${1#--}" | tr - _)=$2"
        shift
        ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
for number in "$port" "$sink_port"; do
    [[ $number =~ ^[0-9]+$ ]] && [ "$number" -ge 1 ] && [ "$number" -le 65535 ] || {
        echo "tools/run.sh: '$number' is not a port" >&2
        exit 2
    }
done

tools/setup.sh build
python3 tools/demo.py --check-ports "$port" "$sink_port"
cmake --preset release -DRINGMX_TESTS=OFF >build-release.log 2>&1 || { cat build-release.log; rm -f build-release.log; exit 1; }
rm -f build-release.log
cmake --build --preset release --target ringmx ringmx-bench -- --quiet

exec python3 tools/demo.py --build build/release --data "$data" --port "$port" --sink-port "$sink_port" \
    ${cores:+--cores "$cores"} ${once:+--once}
