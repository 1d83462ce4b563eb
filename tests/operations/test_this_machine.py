"""What the kernel says of processes that own leases: on real ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from machine_fixture import process_with_a_name

from msgxc.owners import read_owner
from msgxc.this_machine import has_died, look, own_name, place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def test_this_process_lives() -> None:
    """Its name says who it is, and it is not dead."""
    owner = read_owner(own_name())
    assert owner
    assert (owner.pid, owner.place) == (os.getpid(), place())
    assert not has_died(owner.name)


def test_a_process_is_dead_once_it_was_killed() -> None:
    """Not while it runs, nor while it is stopped; killed it is, also while nobody has taken notice of it."""
    with process_with_a_name() as (name, process):
        assert not has_died(name)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not has_died(f"{name}/ab12cd34")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_died(name)
        process.wait()
        assert has_died(name)


def test_who_has_its_number_by_now_is_another_one() -> None:
    """The same number, begun at another time."""
    owner = read_owner(own_name())
    assert owner
    earlier = own_name().replace(f"@{owner.started}.", f"@{owner.started - 1}.")
    assert has_died(earlier)


def test_a_process_whose_first_thread_is_over_lives() -> None:
    """It is shown as over, and others of its threads run."""
    code = """
import ctypes, threading, time
from msgxc.this_machine import own_name
print(own_name(), flush=True)
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread alone
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        stat = Path(f"/proc/{process.pid}/stat")
        while ") Z " not in stat.read_text():
            assert process.poll() is None
        assert not has_died(name)
        process.kill()
        process.wait()
        assert has_died(name)


def test_a_process_of_another_namespace_is_not_judged() -> None:
    """Seen from a container everything outside is in doubt, whatever has its number inside."""
    unshare = shutil.which("unshare")
    code = """
import sys
from msgxc.this_machine import has_died, own_name
print(own_name(), has_died(sys.argv[1]))
"""
    command = [unshare or "unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    with process_with_a_name() as (name, process):
        process.kill()
        process.wait()
        done = subprocess.run([*command, name], capture_output=True, text=True, check=False)
        if done.returncode and "not permitted" in done.stderr:
            pytest.skip("this user may not make namespaces")
        inside, dead = done.stdout.split()
    assert has_died(name)
    assert dead == "False"
    assert not has_died(inside)


def test_a_number_that_nobody_can_have() -> None:
    """Is gone, and one that is somebody else's is there."""
    assert look(4_194_305).gone
    assert not look(1).gone
