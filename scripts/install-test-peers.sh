#!/bin/sh
# Installs, on Debian and its relatives, the real programs that the tests run
# against (and the C compiler of the race detector), and those that no package
# has into the user's cache directory. Does nothing when all are there. Starts
# no service.
#
# With --check it installs nothing and only says which programs are not there,
# on any system.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
peers="${XDG_CACHE_HOME:-$HOME/.cache}/tshx/peers" # searched by integration/peer
mongosh=2.12.0

has() { command -v "$1" >/dev/null 2>&1; }

if [ "${1-}" = --check ]; then
	PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/lib/squid:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':'):$peers"
	missing=
	for p in postgres psql mariadbd mariadb mysql redis-server redis-cli sshd ssh scp sftp rsync \
		nginx haproxy squid basic_ncsa_auth stunnel4 ip tc setpriv curl tsql aws az \
		chromium-headless-shell \
		clickhouse-server clickhouse-client mongosh ferretdb cassandra aws-server etcd kube-apiserver kubelet-stub kubectl; do
		has "$p" || { [ "$p" = chromium-headless-shell ] && has chromium; } || missing="$missing $p"
	done
	[ -z "$missing" ] || echo "tests are skipped that need:$missing (see scripts/install-test-peers.sh)" >&2
	exit 0
fi

packages="gcc libc6-dev make
	postgresql postgresql-client mariadb-server mariadb-client redis-server redis-tools
	openssh-server openssh-client rsync nginx libnginx-mod-stream haproxy squid stunnel4 iproute2
	clickhouse-server clickhouse-client freetds-bin python3-cassandra"
# Programs that are as good from elsewhere, and the packages that have them.
elsewhere="curl:curl aws:awscli az:azure-cli node:nodejs npm:npm chromium-headless-shell:chromium-headless-shell"

# What no package has. Neither npm nor Go needs to be root, and what fails here
# is named by the tests that miss it.
finish() {
	if has npm && ! [ -x "$peers/mongosh-$mongosh/node_modules/.bin/mongosh" ]; then
		echo "install-test-peers: installing mongosh" >&2
		rm -rf "$peers"/mongosh-* "$peers/mongosh.new"
		mkdir -p "$peers/mongosh.new"
		# Its optional native parts stay unbuilt: it does without.
		if npm install --silent --prefix "$peers/mongosh.new" --ignore-scripts --no-audit --no-fund --no-package-lock \
			"mongosh@$mongosh"; then
			mv "$peers/mongosh.new" "$peers/mongosh-$mongosh"
			ln -sfn "mongosh-$mongosh/node_modules/.bin/mongosh" "$peers/mongosh"
		else
			echo "install-test-peers: npm could not install mongosh" >&2
		fi
	fi
	if has go; then
		sh "$here/build-test-peers.sh" || :
	else
		echo "install-test-peers: no go here to build the servers in integration/peers" >&2
	fi
	exit 0
}

if ! has apt-get || ! has dpkg-query; then
	echo "install-test-peers: no apt-get here; install by hand:" $packages $elsewhere >&2
	finish
fi

there=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' $packages 2>/dev/null || :)"
missing=
for p in $packages; do
	case $there in *" installed=$p "*) ;; *) missing="$missing $p" ;; esac
done
for p in $elsewhere; do
	[ "${p%:*}" = chromium-headless-shell ] && has chromium && continue
	has "${p%:*}" || missing="$missing ${p#*:}"
done
if [ -z "$missing" ] && has mysql; then
	finish
fi

root=
if [ "$(id -u)" != 0 ]; then
	if ! has sudo || ! sudo -n true 2>/dev/null; then
		echo "install-test-peers: not root and no sudo; install by hand:$missing" >&2
		finish
	fi
	root=sudo
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
trap 'rm -f "$log"; [ -z "$ours" ] || $root rm -f "$policy"' EXIT

# A policy of "do not start" while the packages are set up, unless the machine
# has a policy of its own.
if [ ! -e "$policy" ]; then
	ours=1
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod 755 "$policy"
fi

apt() {
	$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@"
}

echo "install-test-peers: installing$missing" >&2
apt update >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 1; }
# A release may have dropped one; the tests say what they miss.
known=
for p in $missing; do
	if apt-cache show --no-all-versions "$p" >/dev/null 2>&1; then
		known="$known $p"
	elif [ "$p" = chromium-headless-shell ] && apt-cache show --no-all-versions chromium >/dev/null 2>&1; then
		known="$known chromium" # older releases have the whole browser alone
	else
		echo "install-test-peers: this release has no package $p" >&2
	fi
done
if ! apt install -y --no-install-recommends $known >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "install-test-peers: apt-get could not install:$known" >&2
	exit 1
fi
# Newer releases keep the name mysql in a package of its own.
if ! has mysql; then
	apt install -y --no-install-recommends mariadb-client-compat >"$log" 2>&1 || tail -n 5 "$log" >&2
fi
finish
