"""Compiled source on disk."""
from types import SimpleNamespace
from typing import Any
from rnncli.kernels.engine.emit import Source
def load_compiled(source: Source) -> Any:
    from rnncli.kernels.engine import functions
    from numba import njit
    from rnncli.kernels.fused.arithmetic import compiled
    import numpy as np
    names={n:getattr(functions,n) for n in functions.__all__}; names['np']=np
    body = source.text.split("import *\n", 1)[1]
    parts=body.split("\n\n\n")
    opts={"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
    for part in parts:
        if not part.strip(): continue
        exec(compile(part,"<gen>","exec"),names)
        name=part.strip().split("(")[0][4:]
        names[name]=njit(**opts)(names[name])
    return SimpleNamespace(**names)
