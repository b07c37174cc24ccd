"use strict";

/* The photos live in the grid; the slider and the zoom only point at the images that are already there. */
const rowsOf = (grid) => [...grid.querySelectorAll("[data-row]")];
const rolesOf = (grid) => [...grid.querySelectorAll(".head span")].map((span) => span.textContent);
const imageAt = (row, column) => row.querySelector(`[data-column="${column}"] img`);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/* ---------------------------------------------------------------- before and after */

/* Two images, one over the other, and how much of each is seen. Returns what puts a row's two columns there. */
function startStage(box, grid) {
  const find = (name) => box.querySelector(`[data-${name}]`);
  const [stage, divider] = ["stage", "divider"].map(find);
  const roles = rolesOf(grid);
  let shown = [0, 0];

  const move = () => {
    stage.style.setProperty("--cut", `${divider.value}%`);
    divider.setAttribute("aria-valuetext", `${divider.value} % ${roles[shown[0]]}, then ${roles[shown[1]]}`);
  };

  const drag = (event) => {
    const edge = stage.getBoundingClientRect();
    divider.value = (100 * (event.clientX - edge.left)) / edge.width;
    move();
  };

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
    divider.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && drag(event));
  divider.addEventListener("input", move);

  return (row, left, right) => {
    for (const [name, column] of [["over", left], ["under", right]]) {
      const source = imageAt(row, column);
      Object.assign(find(name), { src: source.src, alt: source.alt, className: source.className });
    }
    find("tag-left").textContent = roles[left];
    find("tag-right").textContent = roles[right];
    shown = [left, right];
    move();
  };
}

/* The columns to begin with: before and after, where there are both. */
function pairOf(roles) {
  const place = (role, otherwise) => (roles.includes(role) ? roles.indexOf(role) : otherwise);
  const last = roles.length - 1;
  const left = place("pre-trained", 0);
  const right = place("adapted", last > 1 && roles[last] === "HQ" ? last - 1 : last);
  return left === right ? [left, left === last ? 0 : left + 1] : [left, right];
}

function startHero(box, grid) {
  const row = rowsOf(grid)[0];
  const roles = rolesOf(grid);
  const [left, right] = pairOf(roles);
  if (!imageAt(row, left) || !imageAt(row, right)) return;
  const put = startStage(box, grid);
  const buttons = new Map(); // the small pictures below, by their columns

  const show = (column) => {
    put(row, left, column);
    for (const [other, button] of buttons) button.setAttribute("aria-pressed", other === column);
  };

  for (const item of box.parentElement.querySelectorAll(".strip li")) {
    const column = roles.indexOf(item.textContent);
    if (column === left || !imageAt(row, column)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => show(column));
    buttons.set(column, button);
  }
  box.hidden = false;
  show(right);
}

function startCompare(box, grid) {
  const find = (name) => box.querySelector(`[data-${name}]`);
  const [photo, left, right] = ["photo", "left", "right"].map(find);
  const rows = rowsOf(grid);
  const put = startStage(box, grid);

  /* Roles that this photo does not have cannot be chosen; a choice that vanished moves to one that exists. */
  const limit = (select, row) => {
    for (const option of select.options) option.disabled = !imageAt(row, option.value);
    if (select.selectedOptions[0].disabled) select.value = [...select.options].find((option) => !option.disabled).value;
  };

  const show = () => {
    const row = rows[photo.value];
    limit(left, row);
    limit(right, row);
    put(row, left.value, right.value);
  };

  for (const select of [photo, left, right]) select.addEventListener("change", show);
  find("swap").addEventListener("click", () => {
    [left.value, right.value] = [right.value, left.value];
    show();
  });

  [left.value, right.value] = pairOf(rolesOf(grid));
  box.hidden = false;
  show();
}

/* ---------------------------------------------------------------- zoom, the same place in every column */

const zoom = document.getElementById("zoom");
const panels = zoom.querySelector("[data-panels]");
const MAX_SCALE = 32;
const view = { grid: null, row: 0, scale: 1, x: 0.5, y: 0.5 }; // x, y: the point in the middle, from 0 to 1

function drawZoom() {
  const margin = 0.5 / view.scale;
  view.x = clamp(view.x, margin, 1 - margin);
  view.y = clamp(view.y, margin, 1 - margin);
  for (const img of panels.querySelectorAll("img")) {
    const [width, height] = [img.offsetWidth, img.offsetHeight];
    const [left, top] = [(0.5 - view.x * view.scale) * width, (0.5 - view.y * view.scale) * height];
    img.style.transform = `translate(${left}px, ${top}px) scale(${view.scale})`;
    img.classList.toggle("pixelated", (width * view.scale) / img.naturalWidth >= 2);
  }
  zoom.querySelector("[data-scale]").textContent = `${Math.round(view.scale * 10) / 10}×`;
}

/* Scale by `factor` and keep the point (px, py), in parts of the view, where it is. */
function scaleBy(factor, px = 0.5, py = 0.5) {
  const scale = clamp(view.scale * factor, 1, MAX_SCALE);
  view.x += (px - 0.5) * (1 / view.scale - 1 / scale);
  view.y += (py - 0.5) * (1 / view.scale - 1 / scale);
  view.scale = scale;
  drawZoom();
}

function moveBy(dx, dy) {
  view.x += dx / view.scale;
  view.y += dy / view.scale;
  drawZoom();
}

function fit() {
  Object.assign(view, { scale: 1, x: 0.5, y: 0.5 });
  drawZoom();
}

function fillZoom() {
  const row = rowsOf(view.grid)[view.row];
  zoom.querySelector("#zoom-title").textContent = row.dataset.id;
  panels.replaceChildren(
    ...rolesOf(view.grid).flatMap((role, column) => {
      const source = imageAt(row, column);
      if (!source) return [];
      const panel = document.createElement("div");
      const label = document.createElement("span");
      const box = document.createElement("div");
      const img = document.createElement("img");
      panel.className = "panel";
      label.textContent = role;
      box.className = "view";
      Object.assign(img, { src: source.src, alt: source.alt, width: source.width, height: source.height, draggable: false });
      img.addEventListener("load", drawZoom);
      box.append(img);
      panel.append(label, box);
      return [panel];
    }),
  );
  drawZoom();
}

function step(by) {
  const count = rowsOf(view.grid).length;
  view.row = (view.row + by + count) % count;
  fillZoom();
}

function openZoom(grid, row) {
  Object.assign(view, { grid, row, scale: 1, x: 0.5, y: 0.5 });
  zoom.showModal();
  fillZoom();
}

function placeIn(box, event) {
  const edge = box.getBoundingClientRect();
  return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height];
}

let dragged = null; // {box, x, y, moved}

panels.addEventListener("pointerdown", (event) => {
  const box = event.target.closest(".view");
  if (!box) return;
  box.setPointerCapture(event.pointerId);
  dragged = { box, x: event.clientX, y: event.clientY, moved: false };
});
panels.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const [dx, dy] = [event.clientX - dragged.x, event.clientY - dragged.y];
  if (!dragged.moved && Math.hypot(dx, dy) < 4) return;
  moveBy(-dx / dragged.box.clientWidth, -dy / dragged.box.clientHeight);
  Object.assign(dragged, { x: event.clientX, y: event.clientY, moved: true });
});
panels.addEventListener("pointerup", (event) => {
  if (dragged && !dragged.moved) scaleBy(2, ...placeIn(dragged.box, event));
  dragged = null;
});
panels.addEventListener("pointercancel", () => (dragged = null));
panels.addEventListener(
  "wheel",
  (event) => {
    const box = event.target.closest(".view");
    if (!box) return;
    event.preventDefault();
    scaleBy(2 ** (-event.deltaY / 300), ...placeIn(box, event));
  },
  { passive: false },
);

for (const button of zoom.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
for (const button of zoom.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => scaleBy(Number(button.dataset.zoom)));
zoom.querySelector("[data-fit]").addEventListener("click", fit);
zoom.querySelector("[data-close]").addEventListener("click", () => zoom.close());
zoom.addEventListener("click", (event) => event.target === zoom && zoom.close());
window.addEventListener("resize", () => zoom.open && drawZoom());

const KEYS = {
  "+": () => scaleBy(2), "=": () => scaleBy(2), "-": () => scaleBy(0.5), 0: fit, n: () => step(1), p: () => step(-1),
  ArrowLeft: () => moveBy(-0.15, 0), ArrowRight: () => moveBy(0.15, 0), ArrowUp: () => moveBy(0, -0.15), ArrowDown: () => moveBy(0, 0.15),
};
zoom.addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});

/* ---------------------------------------------------------------- start */

for (const section of document.querySelectorAll("[data-degradation]")) {
  const grid = section.querySelector("[data-grid]");
  if (!grid) continue;
  const box = section.querySelector("[data-compare]");
  if (box) {
    startCompare(box, grid);
    startHero(document.querySelector(`[data-hero="${section.id}"]`), grid);
  }
  for (const button of grid.querySelectorAll(".open")) {
    button.addEventListener("click", () => openZoom(grid, Number(button.closest("[data-row]").dataset.row)));
  }
}
for (const hint of document.querySelectorAll("[data-needs-script]")) hint.hidden = false;

/* ---------------------------------------------------------------- sorting, choosing a metric */

const valueIn = (row, column) => {
  const mean = row.cells[column].querySelector(".mean");
  return mean ? parseFloat(mean.textContent.replace("−", "-").replace("∞", "1e308")) : NaN;
};

/* A title sorts its column, the best first; once more, the worst first; methods without a number stay below. */
function startSorting(table) {
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    if (!column) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    const isHigherBetter = title.textContent.includes("↑");
    button.addEventListener("click", () => {
      const down = title.getAttribute("aria-sort") ? title.getAttribute("aria-sort") === "ascending" : isHigherBetter;
      for (const other of titles) other.removeAttribute("aria-sort");
      title.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const rank = (row) => (Number.isNaN(valueIn(row, column)) ? Infinity : sign * valueIn(row, column));
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => rank(a) - rank(b)));
    });
  });
}

for (const table of document.querySelectorAll("table.results")) startSorting(table);

const heat = [...document.querySelectorAll("[data-heat]")];
const choice = document.querySelector("[data-heat-choice]");
const curves = [...document.querySelectorAll("[data-heat-too]")];
const showHeat = () => {
  for (const group of [heat, curves]) group.forEach((map, index) => (map.hidden = index !== Number(choice.value)));
};
if (choice) {
  choice.addEventListener("change", showHeat);
  showHeat();
}

/* ---------------------------------------------------------------- where a number comes from */

function openOrigin() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}
window.addEventListener("hashchange", openOrigin);
openOrigin();
