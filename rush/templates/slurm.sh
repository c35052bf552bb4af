#!/bin/bash
# Workers of the rush network {{network}}. The secrets stay in a file that only its owner can read.
{{options}}
{{setup}}
# Older Slurm does not say when the job will end, by which workers know when to stop.
if [ -z "$SLURM_JOB_END_TIME" ] && end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null); then
    export RUSH_JOB_END_TIME=$end
fi
{{command}}
