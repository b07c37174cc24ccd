"""The tables as LaTeX."""

from collections.abc import Sequence

from tasks.report.content import ReportData
from tasks.report.results import Results
from tasks.report.tables import Cell, table_rows
from tasks.report.text import heading


def results_latex(data: ReportData, results: Results) -> str:
    """results.tex: a booktabs table for each degradation (means alone, the best in bold) and for each further table."""
    parts = ["% needs \\usepackage{booktabs}"]
    for name, label in data.tables:
        head = ["Method", *map(heading, data.shown_metrics)]
        rows = [
            [
                _tex(method.label),
                *(_latex_cell(cell) for cell in cells),
            ]
            for method, cells in table_rows(data, results, name)
        ]
        parts.append(_latex_table(f"{data.title}: {label}. Bold: best of its column.", head, rows))
    for extra in data.extras:
        rows = [[_tex(text) for text in row] for row in extra.rows]
        parts.append(_latex_table(f"{extra.title}. {extra.note}", extra.header, rows))
    return "\n\n".join(parts) + "\n"


def _latex_cell(cell: Cell) -> str:
    value = _tex(f"{cell.value} {cell.spread}".strip() or "–")
    return rf"\textbf{{{value}}}" if cell.is_best else value


def _latex_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """rows: LaTeX; caption and head: plain text."""
    lines = [" & ".join(line) + r" \\" for line in (list(map(_tex, head)), *rows)]
    return "\n".join(
        [
            r"\begin{table}\centering",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}\end{table}",
        ]
    )


TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "–": "--", "±": r"$\pm$", "∞": r"$\infty$"},
}


def _tex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(TEX.get(character, character) for character in " ".join(text.split()))
