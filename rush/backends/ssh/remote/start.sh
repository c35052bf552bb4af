# Start a supervisor that outlives the connection. Standard input: its secrets in one line, then worker.sh.
# Asked twice, since an answer may get lost, it starts one.
umask 077
parent={{parent}}
case $parent in
    '') parent=${XDG_DATA_HOME:-$HOME/.local/share}/rush/ssh ;;
    '~'/*) parent=$HOME/${parent#??} ;;
    /*) ;;
    *) parent=$HOME/$parent ;;
esac
folder=$parent/{{name}}

mkdir -p "$parent" || exit
if mkdir "$folder" 2>/dev/null; then
    IFS= read -r secret
    cat >"$folder/worker.sh" || exit
    if [ "$(wc -c <"$folder/worker.sh")" -ne {{size}} ]; then
        echo "not all arrived of what was sent" >&2
        exit 1
    fi
    session=
    command -v setsid >/dev/null && session=setsid
    shell=sh
    command -v bash >/dev/null && shell='bash -l'
    # What stays beside the supervisor writes down how it ended.
    $session sh -c '
        exec 3<&0 </dev/null
        "$@" >"$0/supervisor.out" 2>"$0/supervisor.err" &
        exec 3<&-
        echo $! >"$0/pid"
        wait $!
        echo $? >"$0/ended"
    ' "$folder" $shell "$folder/worker.sh" >/dev/null 2>&1 <<SECRET &
$secret
SECRET
elif [ ! -d "$folder" ]; then
    echo "cannot make the folder $folder" >&2
    exit 1
fi

tries=0
until [ -s "$folder/pid" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 500 ]; then
        echo "nothing has started" >&2
        exit 1
    fi
    sleep 0.02 2>/dev/null || sleep 1
done
read -r pid <"$folder/pid"
start=$(started "$pid")
echo "rush: $pid ${start:--} $(boot) $(uname -n)"
echo "rush: $folder"
