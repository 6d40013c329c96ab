#!/bin/sh
# What `make test` does: builds everything once, boots a cluster, runs the tests on it. Where real nodes are possible and not
# excluded, the tests that depend on them are run there as well.
# usage: tests/run.sh NODES [ARGUMENTS OF cargo nextest run...]; with arguments, only the chosen nodes are used.
set -eu
nodes=$1
shift
cargo=${CARGO:-cargo}
built=${CARGO_TARGET_DIR:-target}/debug
# The error that a test ends with says what it waited for; where in the runtime it was made does not help.
export RUST_LIB_BACKTRACE="${RUST_LIB_BACKTRACE:-0}"
began=$(date +%s)

step() {
  printf '\n== %s (%s s so far)\n' "$*" $(($(date +%s) - began))
}

on() { # KIND ARGUMENTS...: the tests on a cluster with this kind of nodes
  kind=$1
  shift
  "$built/with-cluster" --nodes "$kind" -- "$cargo" nextest run --workspace "$@"
}

step "building the manager, the command line and every test, about four minutes on two cores the first time"
"$cargo" build --workspace --bin build-parts
"$built/build-parts" "$nodes" tests &
parts=$!
"$cargo" build --workspace --all-targets || { kill $parts; exit 1; }
wait $parts
chosen=$("$built/trimtab" local choose --nodes "$nodes")

if [ $# -gt 0 ]; then
  step "the tests that were asked for, on $chosen nodes"
  on "$chosen" --no-tests=fail "$@"
  exit
fi

failed=
step "1 of 3: every test, on simulated nodes"
on simulated || failed="simulated nodes"
if [ "$chosen" = real ]; then
  step "2 of 3: the tests that depend on pods that really run, on a real node"
  on real --profile real || failed="${failed:+$failed, }a real node"
else
  step "2 of 3: nothing on a real node"
fi
step "3 of 3: the examples in the documentation of the code"
"$cargo" test --workspace --doc --quiet || failed="${failed:+$failed, }the examples"

step "the end"
if [ -n "$failed" ]; then
  echo "FAILED: $failed" >&2
  exit 1
fi
echo "every test passed"
