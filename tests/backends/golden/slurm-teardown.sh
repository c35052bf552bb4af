# sbatch --reservation=x --hold /FOLDER/job.sh
# worker-0.sh: exec python3 -m rush.worker --worker w0 --secrets /FOLDER/secrets-0.once --folder /FOLDER

#!/bin/bash
# Workers of the rush network net. The secrets stay in a file that only its owner can read.
#SBATCH --cpus-per-task=1
#SBATCH --error=/FOLDER/%j_0_log.err
#SBATCH --job-name=rush-net
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/FOLDER/%j_0_log.out
# Older Slurm does not say when the job will end, which workers need to know to stop in time.
if [ -z "$SLURM_JOB_END_TIME" ] && end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null); then
    export RUSH_JOB_END_TIME=$end
fi

srun --ntasks=1 --unbuffered /bin/sh /FOLDER/worker-"${SLURM_ARRAY_TASK_ID:-0}".sh &
worker=$!
trap : TERM INT
trap 'kill -USR2 $worker' USR2
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; status=$?; done
cp out.csv $HOME
exit "${status:-1}"
