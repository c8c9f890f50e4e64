#!/bin/sh
# Runs every fuzz target of the module: fuzz.sh [COUNT], 3000x inputs each by
# default; a time such as 1m does too, but a target that time ends amid its
# known inputs counts as failed. A finding is written below the package's
# testdata/fuzz, to be kept there as a test case.
set -eu
cd "$(dirname "$0")/.."
count=${1:-3000x}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cache=$(go env GOCACHE)/fuzz
failed=
for package in $(grep -rl --include='*_test.go' '^func Fuzz' cmd internal | xargs -n1 dirname | sort -u); do
	# Once for all targets of a package: to link takes longer than to run.
	go test -c -fuzz=. -o "$tmp/fuzz.test" "./$package"
	for target in $(grep -h '^func Fuzz' "$package"/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/' | sort); do
		# The minimiser is kept short: it may work for minutes on one input.
		if out=$(cd "$package" && "$tmp/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$count" \
			-test.fuzzminimizetime 5x -test.fuzzcachedir "$cache/tshx/$package" 2>&1); then
			echo "fuzz $package $target: $(echo "$out" | sed -n 's/^fuzz: .*execs: \([0-9]*\).*new interesting: \([0-9]*\).*/\1 runs, \2 new inputs/p' | tail -n 1)"
		else
			echo "$out" >&2
			failed="$failed $target"
		fi
	done
done
[ -z "$failed" ] || { echo "fuzz: failed:$failed" >&2; exit 1; }
