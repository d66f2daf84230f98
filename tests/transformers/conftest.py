"""Their tests carry marks that pytest, strict about its own, must be told of."""

from __future__ import annotations

from typing import Any

THEIR_MARKS = (
    "accelerate_tests",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "flash_attn_test",
    "generate",
    "torch_compile_test",
    "torch_export_test",
)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> None:
    for name in THEIR_MARKS:
        parent.config.addinivalue_line("markers", f"{name}: of transformers")
