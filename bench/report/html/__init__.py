"""Reports that open offline: one page, one file, no script."""

from bench.report.html.page import Report, report

__all__ = ["Report", "report"]
