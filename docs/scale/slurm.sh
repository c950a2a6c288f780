#!/usr/bin/env bash
# One hundred shards of a batch as a job array: sbatch docs/scale/slurm.sh jobs.jsonl results
# Run it again as it is: what is done is skipped, what broke off goes on.
#SBATCH --job-name=vos
#SBATCH --array=0-99
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
# Two minutes before the end vos is told, so that the frames in hand are finished and saved.
#SBATCH --signal=B:TERM@120
set -euo pipefail

manifest=$1
results=$2

# With "exec" the signal reaches vos.
exec vos batch "$manifest" --out "$results" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --workers 4 --threads 2 \
  --scratch "${TMPDIR:-/tmp}/vos-$SLURM_ARRAY_TASK_ID" --quiet
