#!/bin/sh
# The login node: munge, Slurm, and what the user needs to reach the hosts and the server; then it waits.
set -eu

mkdir -p /run/munge /var/log/munge /var/lib/munge /var/log/slurm /var/spool/slurmctld /var/spool/slurmd
(umask 077 && head -c 1024 /dev/urandom > /etc/munge/munge.key)
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 755 /run/munge
runuser -u munge -- /usr/sbin/munged
slurmctld
slurmd

# The home is shared with the hosts, as on most clusters.
install -d -o rush -g rush -m 700 /home/rush/.ssh /home/rush/.config /home/rush/.config/rush
runuser -u rush -- sh -eu <<'END'
cd /home/rush/.ssh
[ -f id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f id_ed25519
cp id_ed25519.pub authorized_keys
ssh-keyscan -t ed25519 host1 host2 > known_hosts
END

# The server's address, and names for backends, in the user's own settings.
read -r password < /run/secrets/password
settings=/home/rush/.config/rush/rush.toml
(umask 077 && cat > "$settings.new") <<END
url = "redis://:$password@valkey:6379"

[profiles.hosts]
backend = "ssh"
hosts = ["host1", "host2"]

[profiles.cpu]
backend = "slurm"
partition = "cpu"
END
chown rush:rush "$settings.new"
mv "$settings.new" "$settings"

exec sleep infinity
