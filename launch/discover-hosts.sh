#!/usr/bin/env bash
# Prints the hosts that an elastic job may use now: the lines NAME:PROCESSES of HOSTS_FILE. horovodrun calls it every
# second.
#
#   HOSTS_FILE=hosts launch/discover-hosts.sh
#
# Replace it with a script for your cluster: one that lists running instances, idle nodes of SLURM, or ready pods.
set -euo pipefail

[ -n "${HOSTS_FILE:-}" ] || { echo "discover-hosts.sh: HOSTS_FILE names no file with lines NAME:PROCESSES" >&2; exit 2; }
[ -r "$HOSTS_FILE" ] || { echo "discover-hosts.sh: HOSTS_FILE: $HOSTS_FILE can't be read" >&2; exit 2; }
grep -E '^[^:#[:space:]]+(:[1-9][0-9]*)?$' "$HOSTS_FILE"
