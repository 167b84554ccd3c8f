#!/usr/bin/env bash
# Prints the hosts that an elastic job may use now: the lines NAME:PROCESSES of HOSTS_FILE. horovodrun asks every second.
#
#   HOSTS_FILE=hosts launch/discover-hosts.sh
#
# Replace it by what your cluster knows: a list of running instances, of SLURM's idle nodes, of pods that are ready.
set -euo pipefail

[ -n "${HOSTS_FILE:-}" ] || { echo "discover-hosts.sh: HOSTS_FILE names no file with lines NAME:PROCESSES" >&2; exit 2; }
[ -r "$HOSTS_FILE" ] || { echo "discover-hosts.sh: HOSTS_FILE: $HOSTS_FILE can't be read" >&2; exit 2; }
grep -E '^[^:#[:space:]]+(:[1-9][0-9]*)?$' "$HOSTS_FILE"
