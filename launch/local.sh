#!/usr/bin/env bash
# Several processes on this machine, with Horovod or TensorFlow's own collectives.
#
#   launch/local.sh [--processes N] [--strategy horovod|multiworker] [--restarts N] RECIPE [KEY=VALUE]...
#
# Arguments after the options are passed to `vaeflow train`. If one process fails, the others are ended; the exit code
# is that of the first that failed. Ctrl-C and TERM end all of them. With --restarts, and --run-dir among the arguments,
# all processes are restarted from the newest checkpoint after one has died. Needs bash 4.3 and setsid.
set -euo pipefail

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # horovodrun imports TensorFlow, which prints lines
PROCESSES=${PROCESSES:-2}
STRATEGY=${STRATEGY:-horovod}
RESTARTS=${RESTARTS:-0}                          # largest number of restarts
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; may have several words
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo} # for example "--gloo --verbose"
GRACE=${GRACE:-}                                 # seconds from TERM to KILL
export PAUSE=${PAUSE:-1}                         # seconds from a failure to TERM: time for rank 0 to print the reason

complain() { echo "local.sh: $1" >&2; exit 2; }

while [ $# -gt 1 ]; do
  case $1 in
    --processes) PROCESSES=$2; shift 2 ;;
    --strategy) STRATEGY=$2; shift 2 ;;
    --restarts) RESTARTS=$2; shift 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || complain "which recipe? For example: local.sh --processes 2 mnist-2d"
[[ $PROCESSES =~ ^[1-9][0-9]*$ ]] || complain "--processes: '$PROCESSES' is not a whole number of at least 1"
[[ $RESTARTS =~ ^[0-9]+$ ]] || complain "--restarts: '$RESTARTS' is not a whole number"
if [ "$RESTARTS" != 0 ]; then
  [[ " $* " == *" --run-dir"* ]] || complain "--restarts needs --run-dir: the run to resume"
  set -- "$@" --resume auto
fi

jobs=() # each leads a process group (setsid), so that its children are ended, too
scratch=$(mktemp -d)

end_jobs() {
  [ ${#jobs[@]} -gt 0 ] || return 0
  local all=("${jobs[@]}" "${jobs[@]/#/-}")
  kill -TERM -- "${all[@]}" 2>/dev/null || true
  for ((tenths = 0; tenths < 10 * GRACE; tenths++)); do
    kill -0 -- "${all[@]}" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL -- "${all[@]}" 2>/dev/null || true # processes that ignored TERM
  wait "${jobs[@]}" || true                     # otherwise the next round's wait returns them
  jobs=()
}

# shellcheck disable=SC2317 # a trap calls it
end_all() {
  set +e
  trap '' INT TERM HUP
  exec 2>/dev/null # bash would report each killed process
  end_jobs
  rm -rf "$scratch"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# The shell that horovodrun starts around vaeflow. horovodrun returns 1 for every failure, so the first process that
# fails writes its exit code to a file. TERM is passed on, because a waiting shell does not do so.
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
  GRACE=${GRACE:-15} # horovodrun needs up to 10 s to end its processes
  export FIRST_FAILURE=$scratch/code
  # shellcheck disable=SC2086
  setsid horovodrun -np "$PROCESSES" $HOROVODRUN_OPTIONS \
    bash -c "$REPORTING" - $VAEFLOW train "$@" --strategy horovod &
  jobs+=("$!")
}

start_multiworker() {
  GRACE=${GRACE:-5} # TensorFlow's cluster service blocks TERM
  local workers rank gpus
  workers=$(python3 - "$PROCESSES" <<'PYTHON'
import json, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]  # all open at once: all ports differ
print(json.dumps([f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]))
PYTHON
  )
  IFS=, read -ra gpus <<<"$GPUS"
  for ((rank = 0; rank < PROCESSES; rank++)); do
    if [ ${#gpus[@]} -gt 0 ]; then export CUDA_VISIBLE_DEVICES=${gpus[rank]}; fi # one each
    export TF_CONFIG="{\"cluster\": {\"worker\": $workers}, \"task\": {\"type\": \"worker\", \"index\": $rank}}"
    # shellcheck disable=SC2086
    setsid $VAEFLOW train "$@" --strategy multiworker &
    jobs+=("$!")
  done
}

start_all() {
  case $STRATEGY in
    horovod) start_horovod "$@" ;;
    multiworker) start_multiworker "$@" ;;
  esac
}

# The GPUs of a multiworker job: those in CUDA_VISIBLE_DEVICES, else all. Not verified on GPUs.
count_gpus() {
  local -a named
  GPUS=${CUDA_VISIBLE_DEVICES-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | paste -sd, || true)}
  if [ "$GPUS" = -1 ]; then GPUS=; fi
  IFS=, read -ra named <<<"$GPUS"
  [ ${#named[@]} = 0 ] || [ ${#named[@]} -ge "$PROCESSES" ] ||
    complain "--processes $PROCESSES, but there are ${#named[@]} GPUs ($GPUS); CUDA_VISIBLE_DEVICES= uses none"
}

case $STRATEGY in
  horovod) ;;
  multiworker) count_gpus ;;
  mirrored) complain "mirrored is one process: vaeflow train $1 --strategy mirrored strategy.replicas=$PROCESSES" ;;
  *) complain "--strategy: '$STRATEGY' is not horovod or multiworker" ;;
esac

# Sets `code` to 0 if all jobs end with 0, else to the code of the first that fails.
wait_for_jobs() {
  local job
  for _ in "${jobs[@]}"; do
    code=0
    wait -n || code=$?
    if [ "$code" = 127 ]; then # bash may drop a job that ends between two waits; it still knows its code
      for job in "${jobs[@]}"; do
        code=0
        wait "$job" || code=$?
        [ "$code" = 0 ] || return 0
      done
      return 0
    fi
    [ "$code" = 0 ] || return 0
  done
}

for ((restart = 1; ; restart++)); do
  start_all "$@"
  wait_for_jobs
  [ "$code" = 0 ] || sleep "$PAUSE"
  if [ -s "$scratch/code" ]; then code=$(cat "$scratch/code"); fi
  # 1: environment error, or another process failed; 128 and more: killed. Other codes are vaeflow's and are not
  # retried.
  [ "$restart" -le "$RESTARTS" ] && { [ "$code" = 1 ] || [ "$code" -ge 128 ]; } || exit "$code"
  end_jobs
  rm -f "$scratch/code"
  echo "local.sh: a process ended with $code; all are restarted from the newest checkpoint ($restart of $RESTARTS)" >&2
done
