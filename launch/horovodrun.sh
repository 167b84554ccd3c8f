#!/usr/bin/env bash
# Horovod over several hosts that ssh reaches without a password.
#
#   HOSTS=host1:4,host2:4 launch/horovodrun.sh RECIPE [KEY=VALUE]...
#
# A host is NAME:PROCESSES, with one process per GPU. The arguments are passed to `vaeflow train`. Every host needs the
# same environment at the same path; horovodrun passes on PATH and other variables. Rank 0, on the first host, writes
# the run.
set -euo pipefail

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # horovodrun imports TensorFlow, which prints lines

HOSTS=${HOSTS:-localhost:1}
INTERFACE=${INTERFACE:-}                         # network interface, such as eth0; empty: horovodrun finds one
SSH_PORT=${SSH_PORT:-}
SSH_KEY=${SSH_KEY:-}                             # file of the private key
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo} # for example "--gloo --disable-cache"
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; may have several words

complain() { echo "horovodrun.sh: $1" >&2; exit 2; }

[ $# -gt 0 ] || complain "which recipe? For example: HOSTS=host1:4,host2:4 horovodrun.sh mnist-2d"

processes=0
for host in ${HOSTS//,/ }; do
  [[ $host =~ ^[^:]+(:[1-9][0-9]*)?$ ]] || complain "HOSTS: '$host' is not NAME:PROCESSES, such as host1:4"
  slots=${host#*:}
  [ "$slots" != "$host" ] || slots=1
  processes=$((processes + slots))
done
command -v horovodrun >/dev/null || complain "there is no horovodrun: vaeflow horovod install"

# shellcheck disable=SC2086
exec horovodrun -np "$processes" -H "$HOSTS" ${INTERFACE:+--network-interfaces "$INTERFACE"} \
  ${SSH_PORT:+--ssh-port "$SSH_PORT"} ${SSH_KEY:+--ssh-identity-file "$SSH_KEY"} $HOROVODRUN_OPTIONS \
  $VAEFLOW train "$@" --strategy horovod
