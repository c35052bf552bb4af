#!/bin/sh
# Install the Debian packages named as arguments where this may be done, without starting their services.
set -eu

missing=""
for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "not installed:$missing; tests that need them are skipped, or fail in CI" >&2
    exit 0
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 -qq update
# shellcheck disable=SC2086 # a list of packages
apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends install $missing < /dev/null
