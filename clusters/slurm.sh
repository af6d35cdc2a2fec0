#!/bin/bash
# Both trainings of a run on one node with eight GPUs; notebooks 00 to 03 of it are finished.
#   sbatch --export=ALL,RUN=paper_5k,PROFILE=paper_5k clusters/slurm.sh
# A job that is stopped and queued again goes on from its last checkpoint.
#SBATCH --job-name=rnagpt
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --mem=256G
#SBATCH --time=2-00:00:00
#SBATCH --requeue
#SBATCH --output=rnagpt-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit it from the root of the repository}"
RUN=${RUN:-paper_5k} PROFILE=${PROFILE:-paper_5k} GPUS=${SLURM_GPUS_ON_NODE:-8}

for stage in 04_train_stage1 05_train_stage2; do
    if grep -qs '"status": "finished"' "${RNAGPT_RUNS:-runs}/$RUN/$stage/manifest.json"; then continue; fi  # by an earlier start
    .venv/bin/accelerate launch --num_processes "$GPUS" --num_machines 1 --mixed_precision no \
        --dynamo_backend no -m rnagpt_lib train "$stage" --profile "$PROFILE" --run "$RUN"
    .venv/bin/rnagpt run "$stage" --profile "$PROFILE" --run "$RUN"
done
