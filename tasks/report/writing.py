"""All files of a report."""

from dataclasses import asdict
from pathlib import Path

from tasks.report.browse import render_browser
from tasks.report.content import ReportData
from tasks.report.findings import finding
from tasks.report.latex import results_latex
from tasks.report.markdown import results_markdown
from tasks.report.page import render_page
from tasks.report.plots import plots_frame
from tasks.report.results import compute_results, metrics_json, results_frame
from tasks.store.files import write_json, write_text


def write_report(data: ReportData, out_dir: Path) -> None:
    """Write into `out_dir`: results.csv, results.md, results.tex and report.html, what the results say; metrics.json
    and plots.csv, the same for DVC; findings.json, a sentence for each degradation; scores.parquet, every photo's;
    origins.json; and browse.html, where the images have places.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    results = compute_results(data)
    results_frame(results).to_csv(out_dir / "results.csv", index=False, float_format="%.6g")
    data.scores.to_parquet(out_dir / "scores.parquet", index=False)
    write_json(out_dir / "metrics.json", metrics_json(results))
    plots_frame(data, results).to_csv(out_dir / "plots.csv", index=False, float_format="%.6g")
    sentences = {label: finding(data, results, name).sentence for name, label in data.tables}
    write_json(out_dir / "findings.json", sentences)
    write_json(out_dir / "origins.json", [asdict(origin) for origin in data.origins])
    texts = {
        "results.md": results_markdown(data, results),
        "results.tex": results_latex(data, results),
        "report.html": render_page(data, results),
    }
    if data.places.images:
        texts["browse.html"] = render_browser(data, results)
    for name, text in texts.items():
        write_text(out_dir / name, text)
