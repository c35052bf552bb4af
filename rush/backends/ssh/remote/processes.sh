# What the scripts on a host know of processes: from /proc, or from ps where there is none.
proc=/proc

boot() {
    cat $proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid
}

# When process $1 started, which tells it from one that takes over its id; nothing if it has ended.
started() {
    if [ -r $proc/self/stat ]; then
        read -r stat 2>/dev/null <"$proc/$1/stat" || return
        set -- ${stat##*')'}
        [ "$1" = Z ] || echo "${20}"
    else
        case $(ps -o stat= -p "$1") in
            '' | Z*) ;;
            *) ps -o lstart= -p "$1" | tr -cs '[:alnum:]:\n' _ ;;
        esac
    fi
}

# One line for each process: its id, its parent's, its group's.
table() {
    if [ -r $proc/self/stat ]; then
        for file in $proc/[0-9]*/stat; do
            read -r stat 2>/dev/null <"$file" || continue
            pid=${file#$proc/}
            set -- ${stat##*')'}
            echo "${pid%/stat} $2 $3"
        done
    else
        ps -A -o pid= -o ppid= -o pgid=
    fi
}

# Process $1 and all that descend from it; with a minus those that lead a group.
family() {
    table | awk -v root="$1" '
        { parent[$1] = $2; group[$1] = $3 }
        END {
            for (pid in parent) {
                for (above = pid; above in parent && above != root && above > 1; above = parent[above]);
                if (above == root) print (group[pid] == pid ? "-" : "") pid
            }
        }'
}
