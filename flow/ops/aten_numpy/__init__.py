"""Host evaluation of raw torch operators in numpy: `TABLE[target](**arguments)`.

Every function takes the arguments of torch's schema by name (`self` arrives as `input`) and follows torch's rules
for shapes, broadcasting and result types; what these are is said once, in torch's own documentation. A sum may round
differently in its last bits, as it does between two builds of torch. Half precision does not occur: the reader widens
it to float32.
"""

from __future__ import annotations

from flow.ops.aten_numpy import creation, linear, movement, normalisation, pointwise, reduction
from flow.ops.aten_numpy.table import TABLE

__all__ = ["TABLE", "creation", "linear", "movement", "normalisation", "pointwise", "reduction"]
