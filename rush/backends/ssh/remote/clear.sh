# Remove the folders of supervisors that have ended. Standard input: as for poll.sh.
while read -r id pid start boot host folder; do
    [ ! -s "$folder/ended" ] || [ ! -f "$folder/worker.sh" ] || rm -rf "$folder"
done
