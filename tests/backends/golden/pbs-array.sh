# qsub /FOLDER/job-0.sh
# worker-0.sh: exec python3 -m rush.worker --worker w0 --secrets /FOLDER/secrets-0.once --folder /FOLDER
# worker-1.sh: exec python3 -m rush.worker --worker w1 --secrets /FOLDER/secrets-1.once --folder /FOLDER
# worker-2.sh: exec python3 -m rush.worker --worker w2 --secrets /FOLDER/secrets-2.once --folder /FOLDER

#!/bin/bash
# Workers of the rush network net. The secrets stay in a file that only its owner can read.
#PBS -N rush
#PBS -q long
#PBS -A lab
#PBS -o /FOLDER/
#PBS -j oe
#PBS -r n
#PBS -l select=1:ncpus=8:mem=16gb:ngpus=2:arch=zen4
#PBS -l walltime=01:30:00
#PBS -J 0-2
#PBS -m e
#PBS -V
exec >/FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".out 2>/FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".err
cd "${PBS_O_WORKDIR:-.}" || exit 1
# PBS does not say when the job will end, which workers need to know to stop in time.
limit=$(qstat -f "$PBS_JOBID" 2>/dev/null | sed -n 's/.*Resource_List.walltime = //p' | head -n 1)
limit=${limit:-5400}
if [ -n "$limit" ] && [ -z "$SLURM_JOB_END_TIME" ]; then
    export RUSH_JOB_END_TIME=$(($(date +%s) + $(echo "$limit" | awk -F: '{s = 0; for (i = 1; i <= NF; i++) s = s * 60 + $i; print s}')))
fi
module load python
/bin/sh /FOLDER/worker-"$((0 + ${PBS_ARRAY_INDEX:-0}))".sh &
worker=$!
trap : TERM INT
trap 'kill -USR2 $worker' USR2
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; status=$?; done
echo over
exit "${status:-1}"
