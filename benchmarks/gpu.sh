#!/usr/bin/env bash
# Everything that wants a GPU, in one go: the tests that skip without one, step timings, the peer where it is given.
#   bash benchmarks/gpu.sh OUT [PATH-OF-STUDIOGAN]
set -euo pipefail
out=${1:?where rows and logs go}
peer=${2:-}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/src
mkdir -p "$out"
python -m steadygan doctor | tee "$out/doctor.txt"
python -m pytest -q -n 0 -k "cuda or gpu" -rs | tee "$out/tests.txt" || true
python benchmarks/step.py --suite gpu --device cuda --studiogan "$peer" --out "$out/speed.csv" | tee "$out/step.txt"
