# End the process that served a connection before this one. Standard input: the process, and when it started.
read -r pid start
[ "$pid" != $PPID ] && [ "$(started "$pid")" = "$start" ] || exit 0
kill "$pid"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ "$(started "$pid")" = "$start" ] || break
    sleep 0.1 2>/dev/null || sleep 1
done
