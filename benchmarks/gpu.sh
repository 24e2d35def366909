#!/usr/bin/env bash
# Everything that wants a GPU: the tests that skip without one, a short training, step timings, the peer where it is given.
#   bash benchmarks/gpu.sh OUT [PATH-OF-STUDIOGAN]
# What matters most comes first, and every part leaves what it found in OUT: it may be stopped at any time. Timings that
# have no goal are left to `python benchmarks/step.py --suite gpu-more`.
set -euo pipefail
out=$(realpath -m "${1:?where rows and logs go}")
peer=${2:-}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
python -m steadygan doctor | tee "$out/doctor.txt"
timeout 180 python -m pytest -q -n 6 --dist worksteal -W default -k "cuda or gpu" -rs \
    tests/test_estimate.py tests/data/test_loader.py tests/nets/test_attention.py tests/training/test_graphs.py \
    | tee "$out/tests.txt" || true
timeout 90 python -m steadygan train digits train.steps=1000 train.log_every=100 train.cuda_graphs=true \
    --out "$runs/digits" 2>&1 | tee "$out/digits.txt" || true
cp "$runs/digits/metrics.jsonl" "$out/digits.jsonl" || true
python benchmarks/step.py --suite gpu --device cuda --studiogan "$peer" --out "$out/speed.csv" 2>&1 | tee "$out/step.txt"
# With two GPUs: the same run on one and on both, whose images/s are in the two files.
if [ "$(nvidia-smi --list-gpus | wc -l)" -ge 2 ]; then
    python -m pytest -q -n 0 tests/training/test_distributed.py -rs | tee "$out/several-devices.txt" || true
    for n in 1 2; do
        torchrun --nproc-per-node "$n" -m steadygan train cifar10-biggan-icr data.path=digits data.channels=3 \
            model.conditional=false train.steps=200 train.batch_size=128 --out "$runs/devices-$n" || true
        cp "$runs/devices-$n/metrics.jsonl" "$out/devices-$n.jsonl" || true
    done
fi
