#!/bin/sh
# Builds the servers of other makes that the tests run against and that no
# package has: each is a module below integration/peers, so that tshx need not
# know what they are made of. They are kept in the user's cache directory and
# built again only when a module has changed. Needs the Go module proxy the
# first time.
set -eu

cd "$(dirname "$0")/../integration/peers"
out="${XDG_CACHE_HOME:-$HOME/.cache}/tshx/peers"
mkdir -p "$out"
failed=
for m in */; do
	name=${m%/}
	stamp=$(cat "$name"/*.go "$name"/go.mod "$name"/go.sum | cksum)
	if [ -x "$out/$name" ] && [ "$(cat "$out/$name.stamp" 2>/dev/null)" = "$stamp" ]; then
		continue
	fi
	echo "build-test-peers: building $name" >&2
	if (cd "$name" && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -trimpath -ldflags='-s -w' -o "$out/$name.new" .); then
		mv "$out/$name.new" "$out/$name"
		echo "$stamp" >"$out/$name.stamp"
	else
		failed="$failed $name"
	fi
done
[ -z "$failed" ] || { echo "build-test-peers: not built:$failed" >&2; exit 1; }
