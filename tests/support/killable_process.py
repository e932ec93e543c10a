"""Starts a Python process that a test may kill."""

import os
import subprocess
import sys


def python_process(program: str) -> "subprocess.Popen[bytes]":
    """Start ``program`` with this process's import path, its input and output piped."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
