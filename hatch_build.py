"""Links the two top-level halves under `src/handrail/` for an editable install, and only then.

The wheel gets them by path rewriting; an editable install cannot rewrite paths.
"""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LinkHalves(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (the signature is hatchling's)
        if version != "editable":
            return
        root = Path(self.root)
        for half in ("resilience", "tracing"):
            link = root / "src" / "handrail" / half
            if link.is_dir():
                continue
            if os.name == "nt":
                import _winapi  # exists on Windows alone

                _winapi.CreateJunction(str(root / half), str(link))  # type: ignore[attr-defined]
            else:
                link.symlink_to(Path("..") / ".." / half, target_is_directory=True)
