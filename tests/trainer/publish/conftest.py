from __future__ import annotations

import sys
from pathlib import Path

from packages import coded, conditional, encoding, packaged, unconditional

sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["coded", "conditional", "encoding", "packaged", "unconditional"]
