#!/bin/bash
# Installs, builds and runs every test: tools/test.sh [PART ...]
# Parts: format layers release counts asan tsan libs demo sim canary fuzz coverage e2e crash power recovery (default: all)
# The last line says "N passed, N failed" (", N skipped"); the exit code is 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.."

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(format layers release counts asan tsan libs demo sim canary fuzz coverage e2e crash power recovery)
passed=0 failed=0 skipped=0 skips=()
rounds=${CRASH_ROUNDS:-50}
seed=${CRASH_SEED:-$RANDOM}
logs=build/test-logs
mkdir -p "$logs"
export RINGMX_HTTP=off # no test owns the default port; those of the endpoint choose one

note() { # name, exit code
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1"
    fi
}

# The counts of a runner that ends with "N passed, N failed[, N skipped]".
add_counts() { # name, log, exit code
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$2" | tail -n 1)
    if [ -z "$line" ]; then
        note "$1 gave no result (see $2)" 1
        return
    fi
    local good bad none
    good=$(sed -E 's/^([0-9]+) passed.*/\1/' <<<"$line")
    bad=$(sed -E 's/.* ([0-9]+) failed.*/\1/' <<<"$line")
    none=$(sed -nE 's/.* ([0-9]+) skipped.*/\1/p' <<<"$line")
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + ${none:-0}))
    while read -r skip; do skips+=("$skip"); done < <(grep '^skip ' "$2")
    [ "$bad" -gt 0 ] || [ "$3" = 0 ] || note "$1 ended with code $3" 1
}

build() { # preset, targets (default: all)
    local preset=$1
    shift
    cmake --preset "$preset" -DRINGMX_TESTS=ON >"$logs/cmake-$preset.log" 2>&1 &&
        cmake --build --preset "$preset" ${1:+--target "$@"} -- --quiet >"$logs/build-$preset.log" 2>&1
    local code=$?
    [ $code = 0 ] || tail -n 40 "$logs/cmake-$preset.log" "$logs/build-$preset.log" 2>/dev/null
    return $code
}

# Builds a preset and runs its unit tests; every test program counts as one.
unit() { # preset, targets or "", extra arguments of ctest
    local preset=$1 targets
    read -ra targets <<<"${2:-}"
    shift $(($# > 1 ? 2 : 1))
    if ! build "$preset" "${targets[@]}"; then
        note "build of $preset" 1
        return
    fi
    ctest --test-dir "build/$preset" --output-on-failure -j2 "$@" >"$logs/ctest-$preset.log" 2>&1
    local bad total
    total=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#' "$logs/ctest-$preset.log")
    bad=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#.*(\*\*\*|Not Run)' "$logs/ctest-$preset.log")
    passed=$((passed + total - bad)) failed=$((failed + bad))
    [ "$bad" = 0 ] || cat "$logs/ctest-$preset.log"
    [ "$total" -gt 0 ] || note "unit tests of $preset: none ran (see $logs/ctest-$preset.log)" 1
}

part_format() {
    local formatter
    formatter=$(command -v clang-format-14 || command -v clang-format)
    git ls-files '*.c' '*.h' | xargs "$formatter" --dry-run --Werror >"$logs/format.log" 2>&1
    local code=$?
    [ $code = 0 ] || head -n 20 "$logs/format.log"
    note "formatting" $code
}

part_layers() {
    tools/check_layers --self-test >"$logs/layers.log" 2>&1
    note "layers: the check finds violations" $?
    tools/check_layers >>"$logs/layers.log" 2>&1
    local code=$?
    [ $code = 0 ] || tail -n 30 "$logs/layers.log"
    note "layers" $code
}

part_release() { unit release; }

# Instructions of single operations beside the recorded ones (bench/counts --record renews them).
part_counts() {
    build release || { note "build of release" 1; return; }
    bench/counts --self-test 2>&1 | tee "$logs/counts-self-test.log" | grep -vE '^[0-9]+ passed'
    add_counts "the gate on instructions fails when it has to" "$logs/counts-self-test.log" "${PIPESTATUS[0]}"
    bench/counts 2>&1 | tee "$logs/counts.log" | grep -E '^(FAILED|bench/counts:)'
    add_counts "instructions of single operations" "$logs/counts.log" "${PIPESTATUS[0]}"
    bench/counts '*-1m' 2>&1 | tee "$logs/counts-1m.log" | grep -E '^(FAILED|bench/counts:)'
    add_counts "the same with a million accounts" "$logs/counts-1m.log" "${PIPESTATUS[0]}"
    bench/count_cost.py >"$logs/count-cost.log" 2>&1
    local code=$?
    [ $code = 0 ] || tail -n 20 "$logs/count-cost.log"
    note "statistics take at most 2 % of the instructions" $code
}
part_asan() { ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 unit asan; }
# What crosses threads: plain programs, because Criterion does not run under the thread sanitizer.
part_tsan() {
    unit tsan "check_spsc check_threads check_work check_rate_table ringmx hold_reads" -R '/check_(spsc|threads|work|rate_table)$'
    # The whole process: start and end of the cores, workers, hand-over of the old queue.
    TSAN_OPTIONS=halt_on_error=1 python3 tests/e2e/run.py --build build/tsan --only during_recovery 2>&1 |
        tee "$logs/e2e-tsan.log" | grep -vE '^ok '
    add_counts "end-to-end tests (tsan)" "$logs/e2e-tsan.log" "${PIPESTATUS[0]}"
}

part_libs() {
    build release >/dev/null
    tools/check_libs build/release/ringmx build/release/ringmx-cli build/release/ringmx-bench
    note "loaded libraries" $?
    tools/check_layers --objects build/release >"$logs/purity.log" 2>&1
    local code=$?
    [ $code = 0 ] || tail -n 30 "$logs/purity.log"
    note "pure objects" $code
}

part_demo() {
    tools/run.sh --once --port 12525 --sink-port 12526 --data build/test-demo >"$logs/demo.log" 2>&1
    local code=$?
    [ $code = 0 ] || cat "$logs/demo.log"
    note "tools/run.sh --once" $code
    build release
}

postfix_tools() {
    [ -x build/postfix/usr/sbin/smtp-source ] && return
    mkdir -p build/postfix
    (cd build/postfix && apt-get download -qq postfix && dpkg -x postfix_*.deb .) >"$logs/postfix.log" 2>&1
}

# A real next hop for the end-to-end tests, not installed.
exim_tools() {
    [ -x build/exim/usr/sbin/exim4 ] && return
    mkdir -p build/exim
    (cd build/exim && apt-get download -qq exim4-daemon-light libgnutls-dane0 libidn12 libunbound8 libevent-2.1-7 &&
        for package in ./*.deb; do dpkg -x "$package" . || exit 1; done) >"$logs/exim.log" 2>&1
}

prometheus_tools() {
    [ -x build/prometheus/usr/bin/promtool ] && return
    mkdir -p build/prometheus
    (cd build/prometheus && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .) >"$logs/prometheus.log" 2>&1
}

# Two real name servers for the end-to-end tests, not installed either.
dns_tools() {
    [ -x build/dns/usr/sbin/unbound ] && [ -x build/dns/usr/sbin/nsd ] && return
    mkdir -p build/dns
    (cd build/dns && apt-get download -qq nsd unbound libunbound8 libevent-2.1-7 libprotobuf-c1 libfstrm0 &&
        for package in ./*.deb; do dpkg -x "$package" . || exit 1; done) >"$logs/dns.log" 2>&1
}

# Another real next hop, over LMTP.
dovecot_tools() {
    [ -x build/dovecot/usr/lib/dovecot/lmtp ] && return
    mkdir -p build/dovecot
    (cd build/dovecot && apt-get download -qq dovecot-core dovecot-lmtpd libsodium23 libunwind8 libtirpc3 &&
        for package in ./*.deb; do dpkg -x "$package" . || exit 1; done) >"$logs/dovecot.log" 2>&1
}

# All with the release build; with sanitizers those of mail, names, HTTP and the queue (E2E_SANITIZED="FILE ..." names others),
# without what does the same very often: it fills a disk, or a server with names.
part_e2e() {
    local sanitized left_out=()
    [ -n "${E2E_SANITIZED:-}" ] || left_out=(disk_full disk_filled_by_others mx_many_domains)
    read -ra sanitized <<<"${E2E_SANITIZED:-session relay relay_connections relay_extensions relay_tls routing lists mx frontends disk faults recovery web queue_api management explain}"
    prometheus_tools || echo "promtool could not be had: see $logs/prometheus.log"
    postfix_tools || echo "postfix's smtp-source and smtp-sink could not be had: see $logs/postfix.log"
    exim_tools || echo "exim could not be had: see $logs/exim.log"
    dns_tools || echo "nsd and unbound could not be had: see $logs/dns.log"
    dovecot_tools || echo "dovecot could not be had: see $logs/dovecot.log"
    for preset in release asan; do
        build "$preset" || { note "build of $preset" 1; continue; }
        local files=()
        [ "$preset" = release ] || files=("${sanitized[@]/#/--file=}" "${left_out[@]/#/--without=}")
        python3 tests/e2e/run.py --build "build/$preset" --postfix build/postfix --exim build/exim --dns build/dns --dovecot build/dovecot --jobs 6 "${files[@]}" 2>&1 |
            tee "$logs/e2e-$preset.log" |
            grep -vE '^ok '
        add_counts "end-to-end tests ($preset)" "$logs/e2e-$preset.log" "${PIPESTATUS[0]}"
    done
}

fuzz_one() { # target, seconds: what it finds lies in build/test-logs
    mkdir -p "$logs/found-$1"
    "build/fuzz/tests/$1" -max_total_time="$2" -max_len=4000 -artifact_prefix="$logs/$1-" \
        "$logs/found-$1" "tests/fuzz/corpus/$1" >"$logs/$1.log" 2>&1
    echo $? >"$logs/$1.code"
}

# Every target for a short time from its corpus, two at a time.
part_fuzz() {
    local seconds=${FUZZ_SECONDS:-6} target code
    build fuzz fuzz_targets || { note "build of fuzz" 1; return; }
    for target in tests/fuzz/corpus/fuzz_*; do
        target=$(basename "$target")
        [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
        fuzz_one "$target" "$seconds" &
    done
    wait
    for target in tests/fuzz/corpus/fuzz_*; do
        target=$(basename "$target")
        code=$(cat "$logs/$target.code")
        [ "$code" = 0 ] || tail -n 20 "$logs/$target.log"
        grep -m 1 '^Done ' "$logs/$target.log" | sed "s/^Done/$target:/"
        note "fuzzing: $target" "$code"
    done
}

# Line coverage of parsers and engines by the unit tests and the corpora, as a gate (tools/coverage).
part_coverage() {
    build coverage || { note "build of coverage" 1; return; }
    find build/coverage -name '*.gcda' -delete
    # What is no parser or engine, and takes long, does not count lines here.
    ctest --test-dir build/coverage -j2 -E '^(model|sim)/|check_(alloc_mail|config|store|stream|tls|ring|threads|work)' \
        >"$logs/ctest-coverage.log" 2>&1
    note "tests of the preset coverage (see $logs/ctest-coverage.log)" $?
    tools/coverage >"$logs/coverage.log" 2>&1
    local code=$?
    [ $code = 0 ] || grep -vE '^[^ ]+: [0-9.]+ % of' "$logs/coverage.log"
    tail -n 1 "$logs/coverage.log"
    note "line coverage of parsers and engines" $code
}

# Two processes, each with half of the crash points and of the random seeds.
part_sim() {
    local seeds=${SIM_SEEDS:-3000} from=${SIM_FROM:-1} half pids=() points
    build release || { note "build of release" 1; return; }
    for half in 0 1; do
        build/release/tests/sim/sim --exhaustive ${SIM_EVERY:+--every} --part $half/2 --seeds $((seeds / 2)) \
            --from $((from + half * (seeds / 2))) >"$logs/sim-$half.log" 2>&1 &
        pids+=($!)
    done
    for half in 0 1; do
        wait "${pids[$half]}"
        local code=$?
        [ $code = 0 ] || cat "$logs/sim-$half.log"
        note "simulation, half $half ($((seeds / 2)) seeds from $((from + half * (seeds / 2))))" $code
    done
    points=$(sed -nE 's/^([0-9]+) points$/\1/p' "$logs"/sim-[01].log | awk '{ sum += $1 } END { print sum }')
    echo "simulation: ${points:-0} crash points, $seeds seeds from $from"
    [ "${points:-0}" -ge 20000 ]
    note "simulation: at least 20,000 crash points" $?
}

part_canary() {
    build release || { note "build of release" 1; return; }
    tests/canary/run.py 2>&1 | tee "$logs/canary.log" | grep -v '^found '
    add_counts "seeded bugs" "$logs/canary.log" "${PIPESTATUS[0]}"
}

part_crash() {
    build release || { note "build of release" 1; return; }
    python3 tests/crash/run.py --build build/release --kills "$rounds" --seed "$seed" 2>&1 | tee "$logs/crash.log" | tail -n 5
    note "crash test (seed $seed, $rounds rounds)" "${PIPESTATUS[0]}"
}

# A start with many queued messages; RECOVERY_MESSAGES=1000000 also holds the promised times.
part_recovery() {
    build release || { note "build of release" 1; return; }
    python3 tests/recovery/run.py --build build/release --messages "${RECOVERY_MESSAGES:-10000}" 2>&1 | tee "$logs/recovery.log"
    add_counts "recovery test" "$logs/recovery.log" "${PIPESTATUS[0]}"
    python3 tests/queue/run.py --build build/release --messages "${QUEUE_MESSAGES:-4000}" 2>&1 | tee "$logs/queue.log"
    add_counts "queue test" "$logs/queue.log" "${PIPESTATUS[0]}"
}

part_power() {
    build release || { note "build of release" 1; return; }
    python3 tests/power/run.py --build build/release --cuts "${POWER_CUTS:-20}" --seed "${POWER_SEED:-$RANDOM}" \
        ${POWER_RECORDING:+--recording "$POWER_RECORDING"} ${POWER_SHARD:+--shard "$POWER_SHARD"} 2>&1 |
        tee "$logs/power.log" | grep -vE '^(ok|cut) '
    add_counts "power cuts" "$logs/power.log" "${PIPESTATUS[0]}"
}

tools/setup.sh test || {
    echo "FAILED: installing packages"
    echo "0 passed, 1 failed"
    exit 1
}
for part in "${parts[@]}"; do
    if ! declare -F "part_$part" >/dev/null; then
        echo "tools/test.sh: no part '$part'" >&2
        exit 2
    fi
    began=$SECONDS
    "part_$part"
    echo "-- $part: $((SECONDS - began)) s"
done
for skip in "${skips[@]}"; do echo "$skip"; done
[ "$failed" = 0 ] || echo "commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ', changed'), logs in $logs"
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
