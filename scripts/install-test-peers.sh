#!/bin/sh
# Installs, on Debian and its relatives, the real programs that the tests run
# against (and the C compiler of the race detector). Does nothing when all are
# there. Starts no service.
#
# With --check it installs nothing and only says which programs are not there,
# on any system.
set -eu

if [ "${1-}" = --check ]; then
	PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/lib/squid:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"
	missing=
	for p in postgres psql mariadbd mariadb mysql redis-server redis-cli sshd ssh scp sftp rsync \
		nginx haproxy squid basic_ncsa_auth; do
		command -v "$p" >/dev/null 2>&1 || missing="$missing $p"
	done
	[ -z "$missing" ] || echo "tests are skipped that need:$missing (see scripts/install-test-peers.sh)" >&2
	exit 0
fi

packages="gcc libc6-dev make
	postgresql postgresql-client mariadb-server mariadb-client redis-server redis-tools
	openssh-server openssh-client rsync nginx haproxy squid"

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
	echo "install-test-peers: no apt-get here; install by hand:" $packages >&2
	exit 0
fi

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=
for p in $packages; do
	installed "$p" || missing="$missing $p"
done
if [ -z "$missing" ] && command -v mysql >/dev/null 2>&1; then
	exit 0
fi

root=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
		echo "install-test-peers: not root and no sudo; install by hand:$missing" >&2
		exit 0
	fi
	root=sudo
fi

# A policy of "do not start" while the packages are set up, unless the machine
# has a policy of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap '$root rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod 755 "$policy"
fi

apt() {
	$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@"
}

log=$(mktemp)
echo "install-test-peers: installing$missing" >&2
if ! { apt update && apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "install-test-peers: apt-get could not install:$missing" >&2
	rm -f "$log"
	exit 1
fi
# Newer releases keep the name mysql in a package of its own.
if ! command -v mysql >/dev/null 2>&1; then
	apt install -y --no-install-recommends mariadb-client-compat >"$log" 2>&1 || tail -n 5 "$log" >&2
fi
rm -f "$log"
