# Say what has become of supervisors. Standard input: id, process, start, boot, host and folder of each.
here=$(uname -n)
now=$(boot)
while read -r id pid start boot host folder; do
    if [ -s "$folder/ended" ]; then
        echo "rush: $id ended $(cat "$folder/ended")"
    elif [ "$host" != "$here" ]; then
        echo "rush: $id elsewhere $here"
    elif [ "$boot" != "$now" ]; then
        echo "rush: $id restarted"
    elif [ "$(started "$pid")" = "$start" ]; then
        echo "rush: $id running"
    else
        # What stays beside it may be about to write down how it ended.
        sleep 0.3 2>/dev/null || sleep 1
        echo "rush: $id ended $(cat "$folder/ended" 2>/dev/null)"
    fi
done
