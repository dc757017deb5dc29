#!/usr/bin/env bash
# Shows that the tests notice: applies one mutation after another to a copy of this tree and demands that the test
# named in the mutation fails.
#
#     tests/mutants/run.sh [NAME...]      all mutations, or those whose file name contains one of the NAMEs
#
# A mutation is a patch with a head of three fields, one a line:
#     Why:   what the mutation takes away
#     Test:  the filter given to the test binary
#     Cargo: arguments of `cargo test` that choose the test binary (such as `--lib`)
# A file NAME.todo has the same head and no patch yet; it counts as a failure, for a gap is not a proof.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/mutants
tree=$work/tree
log=$work/log
export CARGO_TARGET_DIR=$work/build
seconds_max=900
package=sluicebox

field() { sed -n "s/^$2: *//p;/^---/q" "$1" | head -n 1; }

wanted() {
    [ $# -gt 1 ] || return 0
    local file=$1 name
    shift
    for name in "$@"; do case $(basename "$file") in *"$name"*) return 0 ;; esac; done
    return 1
}

# The tree as it lies here, committed or not. Times are kept, so that cargo compiles only what differs.
copy_tree() {
    rm -rf "$tree"
    mkdir -p "$tree"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar --null -T - -cf -) | tar -xf - -C "$tree"
}

# Dependencies that were compiled for this tree need not be compiled again: their files are linked, not copied.
# What belongs to this package is left out, for cargo rewrites some of it in place.
borrow_dependencies() {
    [ ! -d "$CARGO_TARGET_DIR/release" ] && [ -d "$target/release/deps" ] || return 0
    local part
    mkdir -p "$CARGO_TARGET_DIR/release"
    for part in deps build .fingerprint; do cp -al "$target/release/$part" "$CARGO_TARGET_DIR/release/"; done
    rm -rf "$CARGO_TARGET_DIR"/release/.fingerprint/$package-* "$CARGO_TARGET_DIR"/release/deps/{,lib}$package-*
}

# git would look for the repository around the copy, and then skip paths outside of where it stands.
patch_tree() { GIT_CEILING_DIRECTORIES=$work git -C "$tree" apply "$@"; }

# Every mutation is a build of its own, so this package is compiled quickly, and only where it changed; what it is built on
# stays as it is. A test that fails a thousand times does not need a thousand backtraces.
cargo_test() {
    (
        cd "$tree"
        export RUST_BACKTRACE=0
        timeout "$seconds_max" cargo test --release --config "profile.release.package.$package.opt-level=1" \
            --config "profile.release.package.$package.codegen-units=256" "$@"
    ) >"$log/$name.txt" 2>&1
}

judge() { # prints the verdict on the mutation $1
    local file=$1 status=0
    local filter arguments
    filter=$(field "$file" Test)
    read -ra arguments <<<"$(field "$file" Cargo)"
    if [ "${file##*.}" = todo ]; then echo "NOT WRITTEN"; return; fi
    if ! patch_tree "$file" 2>"$log/$name.txt"; then echo "DOES NOT APPLY"; return; fi
    if ! cargo_test "${arguments[@]}" --no-run; then
        echo "DOES NOT COMPILE"
    else
        cargo_test "${arguments[@]}" -- "$filter" || status=$?
        case $status in
            0) echo "SURVIVED" ;;
            124) echo "killed (hung)" ;;
            *) grep -q '^test result: FAILED' "$log/$name.txt" && echo "killed" || echo "NO RESULT" ;;
        esac
    fi
    patch_tree --reverse "$file"
}

# A test that fails or does not exist without the mutation proves nothing with it.
check_baseline() {
    local filter=$1
    shift
    name=baseline
    if ! cargo_test "$@" -- "$filter" || ! grep -Eq '^test result: ok\. [1-9]' "$log/$name.txt"; then
        echo "without a mutation, \`cargo test --release $* -- $filter\` does not pass; see $log/$name.txt" >&2
        exit 1
    fi
}

mkdir -p "$log"
copy_tree
borrow_dependencies

mutations=()
for file in "$root"/tests/mutants/*.patch "$root"/tests/mutants/*.todo; do
    if [ -e "$file" ] && wanted "$file" "$@"; then mutations+=("$file"); fi
done
[ ${#mutations[@]} -gt 0 ] || { echo "no such mutation" >&2; exit 1; }

while IFS=$'\t' read -r arguments filter; do
    read -ra arguments <<<"$arguments"
    check_baseline "$filter" "${arguments[@]}"
done < <(for file in "${mutations[@]}"; do
    [ "${file##*.}" = todo ] || printf '%s\t%s\n' "$(field "$file" Cargo)" "$(field "$file" Test)"
done | sort -u)

failures=0
for file in "${mutations[@]}"; do
    name=$(basename "${file%.*}")
    verdict=$(judge "$file")
    printf '%-16s  %-32s  %s\n' "$verdict" "$name" "$(field "$file" Why)"
    case $verdict in killed*) ;; *) failures=$((failures + 1)) ;; esac
done
echo "${#mutations[@]} mutations, $failures not killed; logs in $log"
[ $failures -eq 0 ]
