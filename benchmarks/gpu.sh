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
for preset in cifar10-biggan-icr cifar10-stylegan2 imagenet128-biggan; do
    # The memory that is predicted, and what the allocator then measures.
    for more in train.recompute=false train.recompute=true; do
        python -m steadygan train $preset data.path="$out/noise.zip" train.batch_size=64 train.accumulate=1 $more \
            --dry-run | tee -a "$out/memory.txt" || true
    done
done
python benchmarks/step.py --suite gpu --device cuda --studiogan "$peer" --out "$out/speed.csv" | tee "$out/step.txt"
