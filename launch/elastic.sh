#!/usr/bin/env bash
# Elastic Horovod: hosts come and go, and the run goes on with those that are there.
#
#   HOSTS_FILE=hosts RUN_DIR=/shared/run launch/elastic.sh RECIPE [KEY=VALUE]...
#
# HOSTS_FILE has a line NAME:PROCESSES for each host that may be used now; change it at any time (write another file and
# rename it). Every host sees RUN_DIR. Fix `microbatches`, to at least MOST: then the weights are those of a run that
# nobody disturbed, bit for bit.
set -euo pipefail

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # horovodrun imports TensorFlow, which talks

HOSTS_FILE=${HOSTS_FILE:-}
RUN_DIR=${RUN_DIR:-}
LEAST=${LEAST:-1}                                # below so many processes the job waits for hosts, ten minutes at most
MOST=${MOST:-}                                   # processes; empty: as many as the hosts have
START=${START:-$LEAST}                           # wait for so many before the first step
COOLDOWN=${COOLDOWN:-10 60}                      # seconds after which a host that failed may be used again: first, longest
INTERFACE=${INTERFACE:-}                         # network interface, such as eth0; empty: horovodrun finds one
DISCOVERY=${DISCOVERY:-$(dirname "$0")/discover-hosts.sh} # a command of your own that prints NAME:PROCESSES lines
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo --gloo-timeout-seconds 30} # a newcomer has so long to start
SSH_OPTIONS=${SSH_OPTIONS:--o ServerAliveInterval=2 -o ServerAliveCountMax=2}
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; more than one word is fine

complain() { echo "elastic.sh: $1" >&2; exit 2; }

[ $# -gt 0 ] || complain "which recipe? For example: HOSTS_FILE=hosts RUN_DIR=runs/a elastic.sh mnist-2d microbatches=8"
[ -n "$RUN_DIR" ] || complain "RUN_DIR names the run's directory, which all hosts see"
[ -x "$DISCOVERY" ] || complain "DISCOVERY: $DISCOVERY can't be executed"
export HOSTS_FILE
"$DISCOVERY" >/dev/null || complain "DISCOVERY: $DISCOVERY failed; it must print NAME:PROCESSES lines"
command -v horovodrun >/dev/null || complain "there is no horovodrun: vaeflow horovod install"

# The launcher takes a host for alive until its ssh ends. By itself that waits for many minutes when a host vanishes
# without a word, and horovodrun has no option for it: so it finds an ssh that gives up after 4 s.
if ssh=$(command -v ssh); then
  beside=$(mktemp -d)
  trap 'rm -rf "$beside"' EXIT
  printf '#!/bin/sh\nexec %q %s "$@"\n' "$ssh" "$SSH_OPTIONS" >"$beside/ssh"
  chmod +x "$beside/ssh"
  PATH=$beside:$PATH
fi

# shellcheck disable=SC2086
horovodrun -np "$START" --min-np "$LEAST" ${MOST:+--max-np "$MOST"} --host-discovery-script "$DISCOVERY" \
  --blacklist-cooldown-range $COOLDOWN ${INTERFACE:+--network-interfaces "$INTERFACE"} $HOROVODRUN_OPTIONS \
  $VAEFLOW train "$@" --strategy horovod --run-dir "$RUN_DIR" --resume auto &
child=$!
asked=''
trap 'asked=yes; kill -TERM $child 2>/dev/null' INT TERM # a child in the background does not hear Ctrl-C
code=0
wait $child || code=$?
while kill -0 $child 2>/dev/null; do code=0; wait $child || code=$?; done # a signal ends a wait
# The launcher of an elastic job that was asked to stop ends with 0, as if the run had come to its end, or with 1.
[ -e "$RUN_DIR/summary.json" ] || { [ "$code" != 0 ] && [ -z "$asked" ]; } || exit 75
exit "$code"
