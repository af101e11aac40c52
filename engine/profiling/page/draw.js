// The data, formats, colours and the tooltip: what all parts of the page use.
const profile = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";

const PHASE_COLOUR = {
  forward: "--forward", backward: "--backward", allreduce: "--allreduce", update: "--update", gaps: "--gaps", "data wait": "--wait",
  host: "--host", read: "--read", decode: "--decode", augment: "--augment", write: "--write", step: "--step", graph: "--graph",
};
const DIRECTION_COLOUR = { forward: "--forward", "input gradient": "--backward", "weight gradient": "--update", "": "--host" };
const PHASE_MEANS = {
  forward: "from images to loss", backward: "gradients of all parameters", allreduce: "sums over ranks",
  update: "optimizer and overflow check", gaps: "inside the graph, between kernels", "data wait": "for the next batch",
  host: "Python, outside the graph",
};
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function text(value) {
  return String(value ?? "").replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}
// Three significant digits, without an exponent where that can be helped.
function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(1);
  return value.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, Math.ceil(Math.log10(size + 1))) });
}
const percent = (share, digits = 1) => (share === null ? "–" : `${(100 * share).toFixed(digits)} %`);
function milliseconds(value) {
  if (value === null) return "–";
  return value >= 1000 ? `${number(value / 1000)} s` : value >= 0.1 || value === 0 ? `${number(value)} ms` : `${number(1000 * value)} µs`;
}

function element(name, attributes, parent) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.appendChild(made);
  return made;
}
function canvasFor(id, width, height) {
  const host = at(id);
  host.textContent = "";
  return element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }, host);
}
function label(parent, x, y, words, anchor = "start", kind = "") {
  const made = element("text", { x, y, "text-anchor": anchor, class: kind }, parent);
  made.textContent = words;
  return made;
}
function empty(id, words) {
  at(id).innerHTML = `<div class="empty">${text(words)}</div>`;
}

const tip = at("tip");
function showTip(event, words) {
  tip.textContent = words;
  tip.style.opacity = 1;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - box.width - 8)}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
}
const hideTip = () => { tip.style.opacity = 0; };
function explain(shape, words) {
  shape.addEventListener("mousemove", (event) => showTip(event, words));
  shape.addEventListener("mouseleave", hideTip);
}

// Round steps of an axis: about `count` of them between low and high.
function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((k) => k * power >= raw) * power, found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step / 1e6; k++) found.push(k * step);
  return found;
}

const redraws = [];
function drawn(draw) { redraws.push(draw); draw(); }
at("theme").addEventListener("click", () => {
  const root = document.documentElement.classList;
  const dark = root.contains("dark") || (!root.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
  root.toggle("dark", !dark);
  root.toggle("light", dark);
  redraws.forEach((draw) => draw());
});
