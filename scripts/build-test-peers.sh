#!/bin/sh
# Builds the servers of other makes that the tests run against and that no
# package has: each module below integration/peers has one or more of them, in
# directories named for the programs, so that tshx need not know what they are
# made of. They are kept in the user's cache directory and built again only when
# a module has changed. Needs the Go module proxy the first time, and minutes
# for Kubernetes.
set -eu

cd "$(dirname "$0")/../integration/peers"
out="${XDG_CACHE_HOME:-$HOME/.cache}/tshx/peers"
mkdir -p "$out"

# The programs of a module, one a line.
programs() {
	find "$PWD/$1" -name main.go | while read -r f; do basename "${f%/main.go}"; done
}

# Is the module built as it is now?
built() {
	[ "$(cat "$out/$1.stamp" 2>/dev/null)" = "$2" ] || return 1
	for p in $(programs "$1"); do
		[ -x "$out/$p" ] || return 1
	done
}

failed=
for m in */; do
	name=${m%/}
	stamp=$(find "$name" -type f ! -name '.*' | LC_ALL=C sort | xargs cat | cksum)
	if built "$name" "$stamp"; then
		continue
	fi
	echo "build-test-peers: building $name" >&2
	new="$out/$name.new"
	rm -rf "$new"
	# A module's own linker flags say the version of what it is made of.
	if (cd "$name" && CGO_ENABLED=0 GOWORK=off nice go build -buildvcs=false -trimpath \
		-ldflags="-s -w $(cat ldflags 2>/dev/null || :)" -o "$new/" ./...); then
		mv "$new"/* "$out/"
		rmdir "$new"
		echo "$stamp" >"$out/$name.stamp"
	else
		rm -rf "$new"
		failed="$failed $name"
	fi
done
[ -z "$failed" ] || { echo "build-test-peers: not built:$failed" >&2; exit 1; }
