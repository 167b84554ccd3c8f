"""The image of `launch/kubernetes`: its sshd as a user without privileges, and the image itself where one can build."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from helpers.paths import ROOT

from vaeflow.distributed.launching.container import find_builder

pytestmark = pytest.mark.cluster
FILES = ROOT / "launch" / "kubernetes"
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
SSHD = shutil.which("sshd", path=PATH)

# A mount namespace with the image's user and files. The keys are as the operator mounts them: owner root, mode 0644.
SCRIPT = """
set -eu; ip link set lo up
cp /etc/passwd passwd; echo 'vaeflow:x:10001:10001::/var/lib/vaeflow:/bin/sh' >> passwd; mount --bind passwd /etc/passwd
cp /etc/group group; echo 'vaeflow:x:10001:' >> group; mount --bind group /etc/group
mount -t tmpfs tmpfs /var/lib; mkdir -p /var/lib/vaeflow/.ssh; chown 10001:10001 /var/lib/vaeflow
mount -t tmpfs tmpfs /mnt; cp "$FILES/sshd_config" "$FILES/ssh_config" "$SSHD" /mnt; chmod 755 /mnt
ssh-keygen -q -t ecdsa -b 521 -m PEM -N '' -f /var/lib/vaeflow/.ssh/id_rsa
cp /var/lib/vaeflow/.ssh/id_rsa.pub /var/lib/vaeflow/.ssh/authorized_keys
chgrp 10001 /var/lib/vaeflow/.ssh/*; chmod 644 /var/lib/vaeflow/.ssh/* /mnt/*config
as_user() {
  setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set -all --inh-caps -all --no-new-privs \
    env HOME=/var/lib/vaeflow "$@"
}
as_user /mnt/sshd -De -f /mnt/sshd_config &
for try in $(seq 50); do
  as_user ssh -F /mnt/ssh_config localhost 'id -u; echo "$PATH"; grep CapEff: /proc/self/status' && break
  sleep 0.1
done
"""


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed: apt-get install openssh-server")
@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")
def test_sshd_runs_without_privileges(tmp_path):
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PATH": PATH, "FILES": str(FILES), "SSHD": str(SSHD)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [
        "10001",
        "/opt/vaeflow/bin:/usr/local/bin:/usr/bin:/bin",
        *("CapEff:", "0000000000000000"),
    ], done.stderr


BUILDER = find_builder()


@pytest.mark.skipif(not BUILDER.name, reason=f"no container builder works here: {BUILDER.problem}")
def test_the_image_is_built(tmp_path):
    """It takes minutes and a network: base images, packages, Horovod's build."""
    file = str(FILES / "Dockerfile")
    subprocess.run(
        [BUILDER.name, "build", "--file", file, "--tag", "vaeflow-test", str(ROOT)], check=True, timeout=3600
    )
    if BUILDER.name != "buildah":
        alone = ["--rm", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        run = [BUILDER.name, "run", *alone, "vaeflow-test"]
        said = subprocess.run([*run, "vaeflow", "horovod", "status"], capture_output=True, text=True, check=True)
        assert "works, built with" in said.stdout
        assert subprocess.run([*run, "id", "-u"], capture_output=True, text=True, check=True).stdout == "10001\n"
