#!/bin/bash
# {{title}}
{{options}}
{{output}}
cd "${PBS_O_WORKDIR:-.}" || exit 1
# PBS does not say when the job will end, which workers need to know to stop in time.
limit=$(qstat -f "$PBS_JOBID" 2>/dev/null | sed -n 's/.*Resource_List.walltime = //p' | head -n 1)
limit=${limit:-{{limit}}}
if [ -n "$limit" ] && [ -z "$SLURM_JOB_END_TIME" ]; then
    export RUSH_JOB_END_TIME=$(($(date +%s) + $(echo "$limit" | awk -F: '{s = 0; for (i = 1; i <= NF; i++) s = s * 60 + $i; print s}')))
fi
{{setup}}
{{command}}
