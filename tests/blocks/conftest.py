"""Property tests of this folder: no clock limit per example (busy machines) and no example database on disk."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("blocks", deadline=None, database=None)
settings.load_profile("blocks")
