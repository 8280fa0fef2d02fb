"""Types of what units take and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Values of ports over time, by name: unsigned arrays [vectors, fields]. The fields of a port have equal widths,
#: field 0 in the lowest bits.
Ports = dict[str, np.ndarray]
#: Parameters of a unit, by name.
Parameters = Mapping[str, Any]
