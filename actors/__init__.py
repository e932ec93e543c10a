"""The Ray shell: carries out what calmops decides. In path order: app, gateway, replica, gang, rank, reaper, meter, health.

A checkout submitted with ``--working-dir .`` has its root on sys.path but not ``platform/``, the source root of
``calmops``; that one line is mended here, since every deployment is imported through this package.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("calmops") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
