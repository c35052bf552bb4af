# qsub /FOLDER/job-0.sh
# worker-0.sh: exec python3 -m rush.worker --worker w0 --secrets /FOLDER/secrets-0.once --folder /FOLDER

#!/bin/bash
# Workers of the rush network net. The secrets stay in a file that only its owner can read.
#PBS -N rush
#PBS -o /FOLDER/job-0.log
#PBS -j oe
#PBS -r n
#PBS -l select=1:ncpus=1
exec >/FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".out 2>/FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".err
cd "${PBS_O_WORKDIR:-.}" || exit 1
# PBS does not say when the job will end, which workers need to know to stop in time.
limit=$(qstat -f "$PBS_JOBID" 2>/dev/null | sed -n 's/.*Resource_List.walltime = //p' | head -n 1)
limit=${limit:-}
if [ -n "$limit" ] && [ -z "$SLURM_JOB_END_TIME" ]; then
    export RUSH_JOB_END_TIME=$(($(date +%s) + $(echo "$limit" | awk -F: '{s = 0; for (i = 1; i <= NF; i++) s = s * 60 + $i; print s}')))
fi

exec /bin/sh /FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".sh
