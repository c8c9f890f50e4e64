#!/bin/sh
# Runs govulncheck (given as arguments) and fails on a known vulnerability.
# Without a way to the vulnerability database it says so and succeeds: working
# offline is no defect of the code.
set -u

out=$("$@" 2>&1)
code=$?
[ "$code" -ne 0 ] || exit 0
# "go run" turns every failure into 1; a finding names its advisory.
if ! printf '%s' "$out" | grep -q 'Vulnerability #' &&
	printf '%s' "$out" | grep -q 'fetching vulnerabilities'; then
	echo "vulncheck: skipped, the vulnerability database cannot be reached from here" >&2
	exit 0
fi
printf '%s\n' "$out" >&2
exit "$code"
