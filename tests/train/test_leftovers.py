from __future__ import annotations

import os
import time

from lib_lora.train.run_folder import RunFolder


def test_old_unfinished_files_go_and_fresh_ones_stay(options_for, tmp_path):
    run = RunFolder.create(tmp_path / "run", options_for())
    old = [run.path / ".atelier-0123456789abcdef.tmp", run.states / "step-00000009.tmp", run.samples / ".00ff.tmp"]
    fresh = run.path / ".atelier-fedcba9876543210.tmp"
    for path in (*old, fresh):
        path.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    for path in old:
        os.utime(path, (two_hours_ago, two_hours_ago))
    RunFolder.open(run.path)
    assert not any(path.exists() for path in old)
    assert fresh.exists()  # somebody may be writing it
    assert (run.path / "options.json").exists()
