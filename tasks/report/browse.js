"use strict";

const found = JSON.parse(document.getElementById("found").textContent);
const form = document.querySelector("[data-form]");
const grid = document.querySelector("[data-grid]");
const PER_PAGE = 12;
let page = 0;

const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
};

function fill(name, items) {
  for (const item of items) form.elements[name].append(new Option(item.label, item.name));
}
fill("degradation", found.degradations);
fill("metric", found.metrics);
fill("method", found.methods);
form.elements.method.value = found.chosen;

/* What photos are sorted by: JSON has no infinity, so a perfect score is the text "inf". */
function worth(value) {
  if (typeof value !== "string") return value ?? NaN;
  return value === "inf" ? Number.MAX_VALUE : -Number.MAX_VALUE;
}

/* The photos of the chosen degradation that the filter keeps, in the chosen order; those without a value come last. */
function chosen() {
  const { degradation, metric, method, order, filter } = Object.fromEntries(new FormData(form));
  const photos = Object.entries(found.scores[degradation] ?? {}).filter(([id]) => id.includes(filter));
  const { higher } = found.metrics.find(({ name }) => name === metric) ?? { higher: true };
  const value = ([, scores], name) => (higher ? 1 : -1) * worth(scores[name]?.[metric]);
  const goodness = (photo) => value(photo, method);
  const gain = (photo) => value(photo, method) - value(photo, found.baseline);
  const key = { worst: goodness, best: (photo) => -goodness(photo), loses: gain, gains: (photo) => -gain(photo) }[order];
  const place = (photo) => (Number.isNaN(key(photo)) ? Infinity : key(photo));
  return key ? photos.sort((a, b) => place(a) - place(b)) : photos.sort(([a], [b]) => (a < b ? -1 : 1));
}

function picture(id, label, folder, score) {
  const cell = make("div", "", "cell");
  const link = make("a", "", "open");
  const img = make("img");
  link.href = img.src = folder + encodeURIComponent(id) + ".png";
  img.alt = `${id}, ${label}`;
  img.loading = "lazy";
  img.addEventListener("load", () => img.classList.toggle("pixelated", img.naturalWidth <= 128));
  link.append(img);
  cell.append(link, make("span", score, "score"));
  return cell;
}

function show() {
  const degradation = form.elements.degradation.value;
  const metric = found.metrics.find(({ name }) => name === form.elements.metric.value);
  const photos = chosen();
  const pages = Math.max(1, Math.ceil(photos.length / PER_PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  document.querySelector("[data-page]").textContent = `${photos.length} photos, page ${page + 1} of ${pages}`;
  const places = found.places[degradation];
  const columns = found.methods.filter(({ name }) => places[name]);
  const { truth } = found;
  grid.style.setProperty("--columns", columns.length + (truth ? 1 : 0));
  const head = make("div", "", "head");
  head.append(...[...columns.map(({ role }) => role), ...(truth ? [found.hq] : [])].map((role) => make("span", role)));
  const rows = photos.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(([id, scores]) => {
    const figure = make("figure");
    const cells = make("div", "", "cells");
    for (const { name, role } of columns) {
      const value = metric && scores[name]?.[metric.name];
      const digits = typeof value === "string" ? value.replace("inf", "∞") : value?.toFixed(metric.digits);
      const text = value === undefined ? "" : `${metric.label} ${digits}`;
      cells.append(picture(id, role, places[name], text));
    }
    if (truth) cells.append(picture(id, found.hq, truth, ""));
    figure.append(make("figcaption", id), cells);
    return figure;
  });
  grid.replaceChildren(head, ...rows);
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  page = 0;
  show();
});
for (const button of form.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => {
    page += Number(button.dataset.step);
    show();
  });
}
const wanted = decodeURIComponent(location.hash.slice(1));
if (found.degradations.some(({ name }) => name === wanted)) form.elements.degradation.value = wanted;
show();
