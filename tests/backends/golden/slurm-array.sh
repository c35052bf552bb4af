# sbatch /FOLDER/job.sh
# worker-0.sh: exec apptainer exec image.sif python3 -m rush.worker --worker w0 --secrets /FOLDER/secrets-0.once --folder /FOLDER
# worker-1.sh: exec apptainer exec image.sif python3 -m rush.worker --worker w1 --secrets /FOLDER/secrets-1.once --folder /FOLDER
# worker-2.sh: exec apptainer exec image.sif python3 -m rush.worker --worker w2 --secrets /FOLDER/secrets-2.once --folder /FOLDER

#!/bin/bash
# Workers of the rush network net. The secrets stay in a file that only its owner can read.
#SBATCH --account=lab
#SBATCH --array=0-2%3
#SBATCH --constraint=ib
#SBATCH --cpus-per-task=8
#SBATCH --error=/FOLDER/%A_%a_0_log.err
#SBATCH --exclusive
#SBATCH --gpus-per-node=a100:2
#SBATCH --job-name=rush-net
#SBATCH --mail-type=END
#SBATCH --mem=16G
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/FOLDER/%A_%a_0_log.out
#SBATCH --partition=cpu
#SBATCH --qos=long
#SBATCH --reservation='maintenance day'
#SBATCH --time=02:00:00
# Older Slurm does not say when the job will end, which workers need to know to stop in time.
if [ -z "$SLURM_JOB_END_TIME" ] && end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null); then
    export RUSH_JOB_END_TIME=$end
fi
module load python
export DATA="$HOME/data"
exec /bin/sh /FOLDER/worker-"${SLURM_ARRAY_TASK_ID:-0}".sh
