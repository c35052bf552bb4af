#!/bin/bash
# {{title}}
{{options}}
# Older Slurm does not say when the job will end, which workers need to know to stop in time.
if [ -z "$SLURM_JOB_END_TIME" ] && end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null); then
    export RUSH_JOB_END_TIME=$end
fi
{{setup}}
{{command}}
