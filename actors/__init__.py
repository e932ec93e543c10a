"""The Ray shell carries out what calmops decides: it starts processes, routes calls, and keeps who is there.

    commands.py   `calmops up` and `calmops down`, as the command line finds them
    launch/       the local Ray cluster, its token, and what is deployed onto it
    app.py        the one wiring place: calmops.yaml to Serve applications; built.py holds them for `serve build`
    gateway/      one HTTP process: requests in, placements out, frames in, events out
    replica/      one gang: the Serve replica, which is rank 0, its engine thread, and its other ranks
    meter/        the one process that folds the log and shows the counts
    cluster/      who is there and who is ended: registry, reapers, a node's facts, HAProxy, names
    router.py     the path that release 0.1 had of gateway/router.py

A room imports only what stands to its right: commands -> launch -> app -> {gateway, replica, meter} -> cluster.

A checkout submitted with ``--working-dir .`` has its root on sys.path but not ``platform/``, the source root of
``calmops``. Every deployment is imported through this package, so the package adds that one line.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("calmops") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
