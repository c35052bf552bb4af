# Run what stands on standard input in a login shell, as workers are.
shell=sh
command -v bash >/dev/null && shell='bash -l'
exec $shell -s
