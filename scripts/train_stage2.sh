#!/usr/bin/env bash
# GPT4RoI stage 2 on all GPUs of this machine, or on several machines:
#
#   scripts/train_stage2.sh --model MODEL --data-root DATA [any option of gpt4roi train]
#   NODES=2 NODE=0 MASTER=host0:29500 scripts/train_stage2.sh …     on the first machine
#   NODES=2 NODE=1 MASTER=host0:29500 scripts/train_stage2.sh …     on the second
#
# The same command goes on from the last checkpoint. deepspeed's own launcher works too:
#   deepspeed --module gpt4roi.cli train configs/train/stage2.yaml --deepspeed configs/deepspeed/zero3.json …
set -euo pipefail
cd "$(dirname "$0")/.."
gpus=${GPUS:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}
master=${MASTER:-127.0.0.1:29500}
set -x
exec python -m torch.distributed.run --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --nproc-per-node "$gpus" \
  --master-addr "${master%:*}" --master-port "${master##*:}" -m gpt4roi.cli train configs/train/stage2.yaml "$@"
