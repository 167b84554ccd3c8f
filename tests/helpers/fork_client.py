"""Has the fork server start a command: `python -IS fork_client.py SOCKET ARGUMENTS...` does `python ARGUMENTS...`.

This process stays for as long as the command runs. It hands on the signals that it receives and ends as the command
ends; if it is killed, the command is killed. It imports nothing slow.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys

FORWARDED = {
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGQUIT, signal.SIGALRM, signal.SIGTSTP, signal.SIGCONT),
}
LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_AS)


def request(arguments: list[str], environment: dict[str, str], cwd: str) -> dict[str, object]:
    """Return all that a command has from the process that starts it, but for its three open files."""
    return {
        "arguments": arguments,
        "environment": environment,
        "cwd": cwd,
        "limits": [(limit, resource.getrlimit(limit)) for limit in LIMITS],
        "ignored": [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN],
        "cores": list(os.sched_getaffinity(0)),
    }


def main() -> None:
    """Have the command started, hand on signals, and end as it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    address, *arguments = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        asked = request(arguments, dict(os.environ), os.getcwd())  # noqa: PTH109
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
        command = int(server.recv(64))
        with open("/proc/self/comm", "w") as name:  # noqa: PTH123
            name.write(f"fork {command}")  # for `fork_server.worker_of`
        for number in FORWARDED - set(asked["ignored"]):
            signal.signal(number, lambda received, _frame: os.kill(command, received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        status, _ = json.loads(server.recv(64))
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in FORWARDED:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
