#!/bin/sh
# Prints a Python that has numpy, for the test of examples/recommend.py, and PyYAML and jsonschema, for tests/compose.py; makes
# one under target/ first if need be. SLUICEBOX_PYTHON names another.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
python=$target/python/bin/python3

if [ -n "${SLUICEBOX_PYTHON:-}" ]; then
    echo "$SLUICEBOX_PYTHON"
    exit 0
fi
has_all() { "$python" -c 'import jsonschema, numpy, yaml' 2>/dev/null; }
if ! has_all; then
    mkdir -p "$target"
    # One at a time: tests run side by side.
    exec 9>"$target/python.lock"
    flock 9
    if ! has_all; then
        python3 -m venv --clear "$target/python" >&2
        "$python" -m pip install --quiet --disable-pip-version-check 'numpy>=1.24,<3' 'PyYAML>=6,<7' 'jsonschema>=4,<5' >&2
    fi
fi
echo "$python"
