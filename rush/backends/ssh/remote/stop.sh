# Stop supervisors: TERM tells them to drain, KILL ends all that they have started. Standard input: as for poll.sh.
kill_family() {
    # All are frozen first, parents before children, so that none starts another, or reports a death, meanwhile.
    known=
    fresh=$1
    while [ -n "$fresh" ]; do
        kill -s STOP -- $fresh 2>/dev/null
        known="$known $fresh"
        fresh=
        for member in $(family "$1"); do
            case " $known " in
                *" $member "*) ;;
                *) fresh="$fresh $member" ;;
            esac
        done
    done
    kill -s KILL -- $known 2>/dev/null
}

here=$(uname -n)
now=$(boot)
while read -r id pid start boot host folder; do
    [ "$host" = "$here" ] && [ "$boot" = "$now" ] && [ "$(started "$pid")" = "$start" ] || continue
    if [ {{how}} = KILL ]; then
        kill_family "$pid"
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ "$(started "$pid")" = "$start" ] || break
            sleep 0.1 2>/dev/null || sleep 1
        done
    else
        kill -s TERM "$pid"
    fi
done
