#!/bin/sh
# A Valkey with a password that shows on no command line, and an append-only file.
set -eu
read -r password < /run/secrets/password
exec valkey-server - <<END
bind * -::*
requirepass $password
appendonly yes
dir /data
END
