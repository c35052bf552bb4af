#!/bin/sh
# A host for workers: sshd in the foreground, with host keys of its own.
set -eu
mkdir -p /run/sshd
ssh-keygen -A
exec /usr/sbin/sshd -D -e
