#!/usr/bin/env bash
# Elastic Horovod: a run continues with the current workers when hosts are lost or added.
#
#   HOSTS_FILE=hosts RUN_DIR=/shared/run launch/elastic.sh RECIPE [KEY=VALUE]...
#
# HOSTS_FILE has a line NAME:PROCESSES per host that may be used now. You can change it at any time (write a new file
# and rename it). Every host must see RUN_DIR. Set `microbatches` to a number of at least MOST: then the weights are
# those of an uninterrupted run, bit for bit.
set -euo pipefail

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # horovodrun imports TensorFlow, which prints lines

HOSTS_FILE=${HOSTS_FILE:-}
RUN_DIR=${RUN_DIR:-}
LEAST=${LEAST:-1}                                # with fewer processes the job waits for hosts, at most ten minutes
MOST=${MOST:-}                                   # largest number of processes; empty: all that the hosts have
START=${START:-$LEAST}                           # wait for this number of processes before the first step
COOLDOWN=${COOLDOWN:-10 60}                      # seconds until a failed host may be used again: first, longest
INTERFACE=${INTERFACE:-}                         # network interface, such as eth0; empty: horovodrun finds one
DISCOVERY=${DISCOVERY:-$(dirname "$0")/discover-hosts.sh} # a command that prints NAME:PROCESSES lines
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo --gloo-timeout-seconds 30} # time for a new process to start
SSH_OPTIONS=${SSH_OPTIONS:--o ServerAliveInterval=2 -o ServerAliveCountMax=2}
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; may have several words

complain() { echo "elastic.sh: $1" >&2; exit 2; }

[ $# -gt 0 ] || complain "which recipe? For example: HOSTS_FILE=hosts RUN_DIR=runs/a elastic.sh mnist-2d microbatches=8"
[ -n "$RUN_DIR" ] || complain "RUN_DIR names the run's directory, which all hosts see"
[ -x "$DISCOVERY" ] || complain "DISCOVERY: $DISCOVERY can't be executed"
export HOSTS_FILE
"$DISCOVERY" >/dev/null || complain "DISCOVERY: $DISCOVERY failed; it must print NAME:PROCESSES lines"
command -v horovodrun >/dev/null || complain "there is no horovodrun: vaeflow horovod install"

# The launcher treats a host as alive until its ssh ends. By default ssh waits for many minutes if a host disappears,
# and horovodrun has no option for this. So a wrapper in the PATH makes ssh give up after 4 s.
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
stopped=''
trap 'stopped=yes; kill -TERM $child 2>/dev/null' INT TERM # a background child does not get Ctrl-C
code=0
wait $child || code=$?
while kill -0 $child 2>/dev/null; do code=0; wait $child || code=$?; done # a signal interrupts `wait`
# After a signal the launcher of an elastic job ends with 0, like a finished run, or with 1.
[ -e "$RUN_DIR/summary.json" ] || { [ "$code" != 0 ] && [ -z "$stopped" ]; } || exit 75
exit "$code"
