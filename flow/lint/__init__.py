"""Whether C++ stays in what Vitis HLS accepts: `lint_build` on a build, `lint_kernel` on the files of its kernel.

Every rule cites the vendor's guide; `flow.lint.rules.RULES` lists them.
"""

from flow.lint.run import Report, lint_build, lint_kernel

__all__ = ["Report", "lint_build", "lint_kernel"]
