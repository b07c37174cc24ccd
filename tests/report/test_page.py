"""The report's pages in a real browser, headless Chromium: what a reader clicks works, and nothing is fetched."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import in_chromium

from tasks.report.content import (
    PUBLISHED_COLUMNS,
    SCORE_COLUMNS,
    SET_SCORE_COLUMNS,
    Extra,
    Method,
    MetricInfo,
    Origin,
    ReportData,
)
from tasks.report.inputs import ReportInputs
from tasks.report.voting import write_ballot
from tasks.report.writing import write_report
from tasks.store.files import write_png

pytestmark = in_chromium

IDS = [f"face_{n:02}" for n in range(30)]
DEGRADATIONS = [("light", "light"), ("medium", "medium"), ("heavy", "heavy")]
METHODS = [
    Method(name="lq", label="LQ input", kind="input", role="LQ"),
    Method(name="pretrained", label="SwinIR, pre-trained", kind="baseline", role="pre-trained"),
    Method(name="adapted", label="SwinIR, adapted", kind="adapted", role="adapted"),
]


PLACES = ReportInputs(
    images={(name, m.name): f"{m.name}/{name}" for name, _ in DEGRADATIONS for m in METHODS},
    photos={"test": "photos/test"},
)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """An experiment's folder with images and a report."""
    root = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(0)
    pictures = {}
    for place in PLACES.named().values():
        (root / place).mkdir(parents=True)
        for image_id in IDS:
            pictures[place, image_id] = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            write_png(root / place / f"{image_id}.png", pictures[place, image_id])
    scores, sets = [], []
    for d, (degradation, _) in enumerate(DEGRADATIONS):
        for m, method in enumerate(METHODS):
            for n, image_id in enumerate(IDS):
                scores.append((degradation, method.name, "psnr", image_id, 20 - 2 * d + m + 0.1 * ((n * 7 * m) % 30)))
                scores.append((degradation, method.name, "lpips", image_id, 0.5 + 0.1 * d - 0.05 * m + 0.001 * n))
            sets.append((degradation, method.name, "fid", 40.0 + 10 * d - 5 * m, np.nan))
    data = ReportData(
        experiment="demo",
        title="A title",
        settings={"seed": 1, "finetune": {"lr": 1e-4}},
        environment={"torch": "2"},
        timings=[("pseudo_targets/raw_x4_moderate_of_a_long_name/finetune", 1200.0, 24, False)],
        methods=METHODS,
        degradations=DEGRADATIONS,
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)),
        set_scores=pd.DataFrame(sets, columns=list(SET_SCORE_COLUMNS)),
        metrics=[
            MetricInfo("psnr", "PSNR (dB)", "higher", "full_reference", "RGB"),
            MetricInfo("lpips", "LPIPS", "lower", "full_reference", "VGG"),
            MetricInfo("fid", "FID to ground truth", "lower", "distribution", "2048", reference="30 images, 0a1b2c3d"),
        ],
        absent={"musiq": "musiq.pth is missing"},
        images=lambda degradation, role, image_id: pictures.get(
            (PLACES.photos["test"] if role == "HQ" else PLACES.images[degradation, role_names()[role]], image_id)
        ),
        ids=IDS,
        quarantine=[("<img src=x onerror=alert(1)>.png", "truncated & broken")],
        published=pd.DataFrame(
            [("light", "adapted", "psnr", 25.0, "Somebody, Table 1")], columns=list(PUBLISHED_COLUMNS)
        ),
        extras=[Extra("Cost per photo", "A note.", ("Method", "seconds"), [("SwinIR", "0.1")])],
        origins=[
            Origin(name, m.name, f"{m.name}/{name}", f"scores/{name}/{m.name}", "", {"commit": "abc"}, {"k": 1}, {})
            for name, _ in DEGRADATIONS
            for m in METHODS
        ],
        losses={"light": pd.DataFrame({"step": range(1, 101), "l1": np.linspace(1, 0, 100)})},
        places=PLACES,
    )
    write_report(data, root / "report")
    return root


def role_names() -> dict[str, str]:
    return {method.role: method.name for method in METHODS}


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., object]]:
    """open_page(path, **options): the page; at the end, no error was on its console and nothing came from a network."""
    opened, problems = [], []

    def call(path: Path, **options: object) -> object:
        page = browser.new_page(**options)
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and problems.append(request.url))
        page.goto(path.as_uri())
        opened.append(page)
        return page

    yield call
    for page in opened:
        page.close()
    assert problems == []


def first_column(page, table: int = 0) -> list[str]:
    rows = page.locator("table.results").nth(table).locator("tbody tr th")
    return [text.split("\n")[0].strip() for text in rows.all_inner_texts()]


def test_a_title_sorts_its_column_best_first_then_worst_first(report, open_page):
    page = open_page(report / "report" / "report.html")
    title = page.locator("table.results").first.locator("thead button", has_text="PSNR")
    title.click()
    assert first_column(page) == ["SwinIR, adapted", "SwinIR, pre-trained", "LQ input"]
    title.press("Enter")
    assert first_column(page) == ["LQ input", "SwinIR, pre-trained", "SwinIR, adapted"]
    page.locator("table.results").first.locator("thead button", has_text="FID").click()
    assert first_column(page)[0] == "SwinIR, adapted"
    assert page.locator("[aria-sort]").count() == 1


def test_the_first_screen_says_which_is_best_how_sure_that_is_and_how_it_looks(report, open_page):
    page = open_page(report / "report" / "report.html", viewport={"width": 1280, "height": 900})
    finding = page.locator(".finding").first
    text = finding.inner_text()
    assert "SwinIR, adapted beats SwinIR, pre-trained" in text
    assert "+0.95 [0.64, 1.26]" in text
    shown = finding.locator(".strip img")
    assert [image.get_attribute("alt") for image in shown.all()] == ["LQ", "pre-trained", "adapted", "HQ"]
    assert all(image.evaluate("image => image.naturalWidth") == 32 for image in shown.all())
    box = finding.bounding_box()
    assert box["y"] + box["height"] < 900


def test_the_first_screen_of_a_phone_shows_the_middle_photo_large_under_a_slider(report, open_page):
    page = open_page(report / "report" / "report.html", viewport={"width": 390, "height": 844})
    scores = pd.read_parquet(report / "report" / "scores.parquet").query("degradation == 'light' and metric == 'psnr'")
    gain = scores.query("method == 'adapted'").set_index("image_id")["value"]
    gain = gain - scores.query("method == 'pretrained'").set_index("image_id")["value"]
    middle = gain.sort_values().index[15]
    hero = page.locator("[data-hero]").first
    assert [hero.locator(f"[data-{name}]").get_attribute("alt") for name in ("over", "under")] == [
        f"{middle}, pre-trained",
        f"{middle}, adapted",
    ]
    stage = hero.locator("[data-stage]").bounding_box()
    assert stage["width"] > 340
    assert stage["y"] + stage["height"] < 700
    page.mouse.click(stage["x"] + 0.25 * stage["width"], stage["y"] + 40)
    assert hero.locator("[data-divider]").input_value() == "25"


def test_a_small_picture_that_is_pressed_goes_under_the_slider(report, open_page):
    page = open_page(report / "report" / "report.html")
    finding = page.locator(".finding").first
    tags = [finding.locator(f"[data-tag-{side}]") for side in ("left", "right")]
    before = finding.locator("[data-under]").get_attribute("src")
    for role in ("HQ", "LQ", "adapted"):
        button = finding.get_by_role("button", name=role, exact=True)
        button.press("Enter")
        assert [tag.inner_text() for tag in tags] == ["pre-trained", role]
        assert finding.locator("[aria-pressed=true]").inner_text() == role
        assert (finding.locator("[data-under]").get_attribute("src") == before) == (role == "adapted")
    assert finding.get_by_role("button").count() == 3  # the one on the left stays there


def test_the_slider_follows_keys_and_pointer(report, open_page):
    page = open_page(report / "report" / "report.html")
    box = page.locator("[data-compare]").first
    divider = box.locator("[data-divider]")
    divider.focus()
    page.keyboard.press("ArrowRight")
    assert divider.input_value() == "51"
    box.locator("[data-stage]").scroll_into_view_if_needed()
    stage = box.locator("[data-stage]").bounding_box()
    page.mouse.move(stage["x"] + 5, stage["y"] + 40)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.25 * stage["width"], stage["y"] + 40)
    page.mouse.up()
    assert divider.input_value() == "25"
    left = box.locator("[data-tag-left]").inner_text()
    box.locator("[data-swap]").click()
    assert box.locator("[data-tag-right]").inner_text() == left


def test_zooming_moves_every_column_alike_and_the_keyboard_is_enough(report, open_page):
    page = open_page(report / "report" / "report.html")
    page.locator(".open").first.press("Enter")
    panels = page.locator("#zoom .view img")
    assert panels.count() == len(METHODS) + 1
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    moved = panels.evaluate_all("images => images.map((image) => image.style.transform)")
    assert len(set(moved)) == 1
    assert "scale(2)" in moved[0]
    title = page.locator("#zoom-title").inner_text()
    page.keyboard.press("n")
    assert page.locator("#zoom-title").inner_text() != title
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()


def test_a_number_leads_to_its_origin(report, open_page):
    page = open_page(report / "report" / "report.html")
    page.locator("table.results").first.locator("tbody a").first.click()
    opened = page.locator("details[open]")
    opened.wait_for()  # the page hears of the new address a moment later
    assert opened.count() == 1
    assert "abc" in opened.inner_text()
    place = opened.locator("a").first.get_attribute("href")
    assert (report / "report" / place).is_dir()


def test_one_metric_at_a_time_in_the_overview(report, open_page):
    page = open_page(report / "report" / "report.html")
    for shown in (page.locator("[data-heat]:visible"), page.locator("[data-heat-too]:visible")):
        assert shown.count() == 1
    page.locator("[data-heat-choice]").select_option(label="LPIPS")
    assert "LPIPS" in page.locator("[data-heat]:visible caption").inner_text()
    assert "LPIPS" in page.locator("[data-heat-too]:visible figcaption").inner_text()


def test_names_of_files_stay_text(report, open_page):
    page = open_page(report / "report" / "report.html")
    assert page.locator("#run").get_by_text("<img src=x onerror=alert(1)>.png").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_its_text_is_legible_in_both_schemes(report, open_page, scheme):
    page = open_page(report / "report" / "report.html", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    contrasts = page.evaluate(CONTRASTS)
    assert min(contrasts.values()) >= 4.5, contrasts


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (color) => [...rgb(color)].slice(0, 3)
    .map((value) => value / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(color) && color !== "transparent") return color;
    }
    return "white";
  };
  const found = {};
  for (const name of ["h1", ".sub", ".ci", ".chip.better", ".finding p", "summary", "td", ".legend", "dd", "dt"]) {
    const element = document.querySelector(name);
    if (!element) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""


def test_every_control_has_a_name(report, open_page):
    page = open_page(report / "report" / "report.html")
    page.locator(".open").first.click()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, img, svg[role=img]")]
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.alt || e.labels?.length
            || (e.tagName === "IMG" && e.hasAttribute("alt"))))
          .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_the_browser_of_all_photos_sorts_filters_and_turns_pages(report, open_page):
    page = open_page(report / "report" / "browse.html")
    titles = page.locator("figcaption")
    assert titles.all_inner_texts() == IDS[:12]
    page.get_by_label("Next page").click()
    assert titles.all_inner_texts() == IDS[12:24]
    page.get_by_label("Order").select_option("worst")
    page.get_by_label("Degradation").select_option("heavy")
    scores = pd.read_parquet(report / "report" / "scores.parquet")
    chosen = scores.query("degradation == 'heavy' and method == 'adapted' and metric == 'psnr'")
    assert titles.first.inner_text() == chosen.sort_values("value")["image_id"].iloc[0]
    page.get_by_label("Name holds").fill("face_07")
    assert titles.all_inner_texts() == ["face_07"]
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth === 32)")
    assert page.locator("figure img").count() == len(METHODS) + 1


def test_a_vote_saves_what_was_clicked_and_shows_no_method(report, open_page, tmp_path):
    folders = {name: report / name / "light" for name in ("pretrained", "adapted")}
    write_ballot(folders, tmp_path, trials=3, seed=1, lq=report / "lq" / "light")
    assert not any(name in (tmp_path / "vote.html").read_text() for name in folders)
    page = open_page(tmp_path / "vote.html")
    page.locator("[data-trial='0'] [data-choice=left]").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Backspace")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    with page.expect_download() as saved:
        page.locator("[data-save]").click()
    votes = json.loads(Path(saved.value.path()).read_text())
    key = json.loads((tmp_path / "key.json").read_text())
    assert votes == {"ballot": key["ballot"], "votes": {"0": "left", "1": "neither", "2": "right"}}
