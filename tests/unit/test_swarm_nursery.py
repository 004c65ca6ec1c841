"""Members' processes, in a harness that has thousands of files open."""

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.engines.live.swarm.nursery import Child


def test_a_process_is_ended_whatever_the_number_of_its_file() -> None:
    with ExitStack() as files, subprocess.Popen(("sleep", "60")) as process:
        for _ in range(1_024):
            files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        child = Child(process.pid)
        files.callback(child.close)
        assert child.fd >= 1_024
        child.kill()
        assert process.wait(0) == -signal.SIGKILL
        assert not Path(f"/proc/{process.pid}").exists()
