#!/bin/sh
# A RUSTC_WRAPPER that compiles the product and its fuzzers as cargo-fuzz would: with coverage counters for libFuzzer and with
# every assertion. What they are built on is compiled as always: counters in burn or OpenSSL cost much and find nothing.
rustc=$1
shift
case ${CARGO_PKG_NAME:-} in
    sluicebox | sluicebox-fuzz)
        exec "$rustc" "$@" --cap-lints=allow --cfg fuzzing -Cdebuginfo=line-tables-only \
            -Cdebug-assertions=on -Coverflow-checks=on \
            -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    *) exec "$rustc" "$@" ;;
esac
