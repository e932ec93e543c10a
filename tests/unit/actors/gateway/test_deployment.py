"""The gateway's process."""

import subprocess
import sys


def test_a_gateway_loads_no_engine() -> None:
    code = "import sys, actors.gateway.deployment; print(sorted({'torch', 'transformers', 'deepspeed'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout == "[]\n"
