# Say which process serves this connection, and when it started; then say back what is heard, until nobody is there.
echo "rush: $PPID $(started $PPID)"
while IFS= read -r line; do
    echo "rush: $line"
done
