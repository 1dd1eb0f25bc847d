"""Whatever a client asks for: no process is started, no file touched, and nobody called but the configured upstream."""

import json
import subprocess
import sys

from tests.support.spawned import ROOT


def test_a_request_makes_the_gateway_do_nothing_else() -> None:
    # `-B`: to keep what was compiled of a module, which is done once after each change, would be a deed.
    command = [sys.executable, "-B", "-m", "tests.support.audited"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(output.stdout)
    assert told["deeds"] == []
    assert told["control"] == ["os.system(b'true',)"]
    assert told["answers"] > 1000
    assert "/v1/messages" in told["asked"]
    assert "/v1beta/models/g:streamGenerateContent" in told["asked"]
