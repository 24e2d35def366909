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
# With two GPUs: the same run on one and on both, whose images/s are in the two metrics.jsonl.
if [ "$(nvidia-smi --list-gpus | wc -l)" -ge 2 ]; then
    python -m pytest -q -n 0 tests/training/test_distributed.py -rs | tee "$out/several-devices.txt" || true
    for n in 1 2; do
        torchrun --nproc-per-node "$n" -m steadygan train cifar10-biggan-icr data.path=digits data.channels=3 \
            model.conditional=false train.steps=200 train.batch_size=128 --out "$out/devices-$n" \
            | tee "$out/devices-$n.txt" || true
    done
fi
python benchmarks/step.py --suite gpu --device cuda --studiogan "$peer" --out "$out/speed.csv" | tee "$out/step.txt"
