"""A process in which diffcov cannot be imported, installed or not."""

from __future__ import annotations

WITHOUT_DIFFCOV = """
import sys
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "diffcov":
            raise ImportError("diffcov is not here")
sys.meta_path.insert(0, Nobody())
"""
"""What a program begins with, so that nothing of diffcov is there for it."""
