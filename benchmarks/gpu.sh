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
rows=$out/speed.csv
python benchmarks/step.py cifar10-dcgan-none cifar10-sngan cifar10-biggan cifar10-biggan-cr cifar10-biggan-bcr \
    cifar10-biggan-icr cifar10-biggan-diffaugment100 cifar10-stylegan2 \
    --device cuda --batch 64 --modes plain,fast --rounds 5 --steps 5 --out "$rows" | tee "$out/step.txt"
python benchmarks/step.py cifar10-biggan-icr --device cuda --batch 64 --modes fast,fast+compile \
    --rounds 5 --steps 5 --out "$rows" | tee -a "$out/step.txt"
python benchmarks/step.py imagenet128-biggan --device cuda --batch 256 --set train.accumulate=1 --modes plain,fast \
    --rounds 3 --out "$rows" | tee -a "$out/step.txt"
if [ -n "$peer" ]; then
    python benchmarks/step.py benchmarks/studiogan-biggan-icr.yaml --device cuda --batch 64 --modes plain,fast \
        --studiogan "$peer" --peer-config CIFAR10/BigGAN-ICR.yaml --peer-modes peer,peer+amp \
        --rounds 5 --steps 5 --out "$rows" | tee -a "$out/step.txt"
fi
