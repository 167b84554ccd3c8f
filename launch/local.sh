#!/usr/bin/env bash
# Several processes on this machine, joined by Horovod or by TensorFlow's own collectives.
#
#   launch/local.sh [--processes N] [--strategy horovod|multiworker] RECIPE [KEY=VALUE]...
#
# What follows the options goes to `vaeflow train`. Where one process fails, the others are ended; the exit code is that
# of the first that failed. Ctrl-C and TERM end all of them. Needs bash 4.3 and setsid.
set -euo pipefail

PROCESSES=${PROCESSES:-2}
STRATEGY=${STRATEGY:-horovod}
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; more than one word is fine
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo} # replace them by "--gloo --verbose", say
GRACE=${GRACE:-}                                 # seconds from TERM to KILL
export PAUSE=${PAUSE:-1}                         # seconds from a failure to TERM: rank 0 may have to say why

complain() { echo "local.sh: $1" >&2; exit 2; }

while [ $# -gt 1 ]; do
  case $1 in
    --processes) PROCESSES=$2; shift 2 ;;
    --strategy) STRATEGY=$2; shift 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || complain "which recipe? For example: local.sh --processes 2 mnist-2d"
[[ $PROCESSES =~ ^[1-9][0-9]*$ ]] || complain "--processes: '$PROCESSES' is not a whole number of at least 1"

jobs=() # each leads a process group, by setsid, so that its children can be ended with it
scratch=$(mktemp -d)

# shellcheck disable=SC2317 # a trap calls it
end_all() {
  set +e
  trap '' INT TERM HUP
  exec 2>/dev/null # bash would report each process that is killed
  local all=("${jobs[@]}" "${jobs[@]/#/-}")
  if [ ${#jobs[@]} -gt 0 ]; then
    kill -TERM -- "${all[@]}"
    for ((tenths = 0; tenths < 10 * GRACE; tenths++)); do
      kill -0 -- "${all[@]}" || break
      sleep 0.1
    done
    kill -KILL -- "${all[@]}" # what does not listen
  fi
  rm -rf "$scratch"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# What horovodrun starts around vaeflow. It ends with 1 whatever happened, so the first process that fails leaves its
# code in a file. TERM is handed on, since a shell that waits would keep it to itself.
# shellcheck disable=SC2016
REPORTING='
  trap "kill -TERM \$child" TERM
  "$@" & child=$!
  wait $child; code=$?
  while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
  [ $code = 0 ] || { (set -C; echo $code >"$FIRST_FAILURE") 2>/dev/null; sleep "$PAUSE"; }
  exit $code
'

start_horovod() {
  command -v horovodrun >/dev/null || complain "no horovodrun: vaeflow horovod install, or --strategy multiworker"
  GRACE=${GRACE:-15} # horovodrun takes up to 10 to end its processes
  export FIRST_FAILURE=$scratch/code
  # shellcheck disable=SC2086
  setsid horovodrun -np "$PROCESSES" $HOROVODRUN_OPTIONS \
    bash -c "$REPORTING" - $VAEFLOW train "$@" --strategy horovod &
  jobs+=("$!")
}

start_multiworker() {
  GRACE=${GRACE:-5} # TensorFlow's cluster keeps TERM to itself
  local workers rank
  workers=$(python3 - "$PROCESSES" <<'PYTHON'
import json, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]  # open together: all ports differ
print(json.dumps([f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]))
PYTHON
  )
  for ((rank = 0; rank < PROCESSES; rank++)); do
    if command -v nvidia-smi >/dev/null; then export CUDA_VISIBLE_DEVICES=$rank; fi # a GPU each; not verified on GPUs
    export TF_CONFIG="{\"cluster\": {\"worker\": $workers}, \"task\": {\"type\": \"worker\", \"index\": $rank}}"
    # shellcheck disable=SC2086
    setsid $VAEFLOW train "$@" --strategy multiworker &
    jobs+=("$!")
  done
}

case $STRATEGY in
  horovod) start_horovod "$@" ;;
  multiworker) start_multiworker "$@" ;;
  mirrored) complain "mirrored is one process: vaeflow train $1 --strategy mirrored strategy.replicas=$PROCESSES" ;;
  *) complain "--strategy: '$STRATEGY' is not horovod or multiworker" ;;
esac

code=0
for _ in "${jobs[@]}"; do
  wait -n || { code=$?; sleep "$PAUSE"; break; }
done
if [ -s "$scratch/code" ]; then code=$(cat "$scratch/code"); fi
exit "$code"
