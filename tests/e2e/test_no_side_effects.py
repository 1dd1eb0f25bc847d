"""For any request: no process is started, no file touched, and only the configured upstream is connected to."""

import json
import subprocess
import sys

from tests.support.spawned import ROOT


def test_requests_have_no_side_effects() -> None:
    # `-B`: writing bytecode, once after each change of a module, would count as a side effect.
    command = [sys.executable, "-B", "-m", "tests.support.audited"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    report = json.loads(output.stdout)
    assert report["deeds"] == []
    assert report["control"] == ["os.system(b'true',)"]
    assert report["responses"] > 1000
    assert "/v1/messages" in report["paths"]
    assert "/v1beta/models/g:streamGenerateContent" in report["paths"]
