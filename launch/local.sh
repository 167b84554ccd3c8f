#!/usr/bin/env bash
# Several processes on this machine, joined by Horovod or by TensorFlow's own collectives.
#
#   launch/local.sh [--processes N] [--strategy horovod|multiworker] [--restarts N] RECIPE [KEY=VALUE]...
#
# What follows the options goes to `vaeflow train`. Where one process fails, the others are ended; the exit code is that
# of the first that failed. Ctrl-C and TERM end all of them. With --restarts, and --run-dir among what follows, processes
# that died are started again, all of them, from the newest checkpoint. Needs bash 4.3 and setsid.
set -euo pipefail

export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # horovodrun imports TensorFlow, which talks
PROCESSES=${PROCESSES:-2}
STRATEGY=${STRATEGY:-horovod}
RESTARTS=${RESTARTS:-0}                          # how often at most
VAEFLOW=${VAEFLOW:-vaeflow}                      # the command; more than one word is fine
HOROVODRUN_OPTIONS=${HOROVODRUN_OPTIONS:---gloo} # replace them by "--gloo --verbose", say
GRACE=${GRACE:-}                                 # seconds from TERM to KILL
export PAUSE=${PAUSE:-1}                         # seconds from a failure to TERM: rank 0 may have to say why

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
  [[ " $* " == *" --run-dir"* ]] || complain "--restarts needs --run-dir: the run to go on with"
  set -- "$@" --resume auto
fi

jobs=() # each leads a process group, by setsid, so that its children can be ended with it
scratch=$(mktemp -d)

end_jobs() {
  [ ${#jobs[@]} -gt 0 ] || return 0
  local all=("${jobs[@]}" "${jobs[@]/#/-}")
  kill -TERM -- "${all[@]}" 2>/dev/null || true
  for ((tenths = 0; tenths < 10 * GRACE; tenths++)); do
    kill -0 -- "${all[@]}" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL -- "${all[@]}" 2>/dev/null || true # what does not listen
  wait "${jobs[@]}" || true                     # or the next round's wait would find them
  jobs=()
}

# shellcheck disable=SC2317 # a trap calls it
end_all() {
  set +e
  trap '' INT TERM HUP
  exec 2>/dev/null # bash would report each process that is killed
  end_jobs
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
  local workers rank gpus
  workers=$(python3 - "$PROCESSES" <<'PYTHON'
import json, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]  # open together: all ports differ
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

# The GPUs that a multiworker job may use: those that the user has named, else all. Not verified on GPUs.
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

for ((restart = 1; ; restart++)); do
  start_all "$@"
  code=0
  for _ in "${jobs[@]}"; do
    wait -n || { code=$?; sleep "$PAUSE"; break; }
  done
  if [ -s "$scratch/code" ]; then code=$(cat "$scratch/code"); fi
  # 1: a machine's or another process's fault; 128 and more: killed. vaeflow has chosen all others, and says why.
  [ "$restart" -le "$RESTARTS" ] && { [ "$code" = 1 ] || [ "$code" -ge 128 ]; } || exit "$code"
  end_jobs
  rm -f "$scratch/code"
  echo "local.sh: a process ended with $code; all start again from the newest checkpoint ($restart of $RESTARTS)" >&2
done
