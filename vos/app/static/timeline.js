// The time line: for each object where it is seen, how surely, where it was shown, where it is absent.
import { store, on, colour, nameOf, objectIds, numFrames, seconds, clock } from "./store.js";
import { show } from "./pictures.js";
import { openDoubts } from "./review.js";

const canvas = document.getElementById("timeline"), context = canvas.getContext("2d");
const GUTTER = 132, RULER = 26, ROW = 26, MAX_ROWS = 6, PAD = 14;
let span = null;          // [first, last] frames in sight; null for all
let isQueued = false, isDragging = false, scroll = 0, style = null;

function width() { return canvas.clientWidth; }
function inSight() { return span ?? [0, Math.max(1, numFrames() - 1)]; }
function xOf(index) { const [a, b] = inSight(); return GUTTER + ((index - a) / (b - a)) * (width() - GUTTER - PAD); }
function indexAt(x) { const [a, b] = inSight(); return a + ((x - GUTTER) / (width() - GUTTER - PAD)) * (b - a); }

function layOut() {
  const rows = Math.min(Math.max(objectIds().length, 2), MAX_ROWS), ratio = devicePixelRatio || 1;
  const height = RULER + rows * ROW + 8;
  if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(height * ratio);
  style = getComputedStyle(document.documentElement);
  redraw();
}

function redraw() {
  if (isQueued) return;
  isQueued = true;
  requestAnimationFrame(() => { isQueued = false; draw(); });
}

function draw() {
  const ratio = devicePixelRatio || 1, w = width(), h = canvas.height / ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, w, h);
  if (!store.video || !style) return;
  const text = style.getPropertyValue("--text"), muted = style.getPropertyValue("--muted");
  const lineColour = style.getPropertyValue("--line"), accent = style.getPropertyValue("--accent");
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  drawRange(h, accent);
  drawRuler(w, muted, lineColour);
  context.save();
  context.beginPath();
  context.rect(0, RULER, w, h - RULER);
  context.clip();
  const ids = objectIds();
  scroll = Math.min(scroll, Math.max(0, ids.length - MAX_ROWS) * ROW);
  ids.forEach((id, row) => drawRow(id, RULER + 4 + row * ROW - scroll, text, muted, lineColour));
  context.restore();
  drawDoubts(ids, style.getPropertyValue("--danger"));
  drawPlayhead(h, accent);
  canvas.setAttribute("aria-valuemax", numFrames() - 1);
  canvas.setAttribute("aria-valuenow", store.frame);
  canvas.setAttribute("aria-valuetext", `frame ${store.frame}, ${clock(seconds(store.frame))}`);
}

function drawRange(h, accent) {
  const range = store.project?.tracked;
  if (!range) return;
  const left = Math.max(GUTTER, xOf(range[0])), right = Math.min(width(), xOf(range[1]));
  context.fillStyle = accent;
  context.globalAlpha = 0.09;
  context.fillRect(left, 0, right - left, h);
  context.globalAlpha = 1;
  context.fillRect(left, 0, right - left, 2);
  context.fillRect(left - 1, 0, 2, RULER);
  context.fillRect(right - 1, 0, 2, RULER);
}

function drawRuler(w, muted, lineColour) {
  const [a, b] = inSight(), begin = seconds(Math.floor(a)), length = Math.max(seconds(Math.floor(b)) - begin, 0.01);
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((each) => (each / length) * (w - GUTTER) > 70) ?? 7200;
  context.strokeStyle = lineColour;
  context.fillStyle = muted;
  context.lineWidth = 1;
  context.textAlign = "left";
  for (let t = Math.ceil(begin / step) * step; t <= begin + length + 1e-6; t += step) {
    const x = Math.round(GUTTER + ((t - begin) / length) * (w - GUTTER - PAD)) + 0.5;
    stroke(x, RULER - 8, x, RULER);
    const label = step < 1 ? clock(t).slice(0, -1) : clock(t).slice(0, -3);
    if (x + 8 + context.measureText(label).width < w) context.fillText(label, x + 6, RULER - 9);
  }
  stroke(0, RULER + 0.5, w, RULER + 0.5);
}

function stroke(x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function drawRow(id, y, text, muted, lineColour) {
  const isSelected = id === store.object, base = y + ROW - 7, top = y + 3;
  context.textAlign = "left";
  context.fillStyle = colour(id);
  round(14, y + 8, 10, 10, 3);
  context.fillStyle = isSelected ? text : muted;
  context.fillText(short(nameOf(id), GUTTER - 46), 32, y + 13.5);
  context.fillStyle = lineColour;
  context.fillRect(GUTTER, base + 1, width() - GUTTER - PAD, 2);
  drawBytes(id, top, base);
  drawStale(id, top, base);
  for (const [object, first, last] of store.project?.absences ?? []) {
    if (object === id) hatch(xOf(first - 0.5), xOf(last + 0.5), top, base + 3, muted);
  }
  for (const [index, marks] of Object.entries(store.project?.marks ?? {})) {
    if (marks.hints[id] || marks.painted.includes(id)) diamond(xOf(Number(index)), base + 2, colour(id), text);
  }
}

// What is of an earlier state is pale; what an update takes away, almost gone.
function drawStale(id, top, base) {
  context.fillStyle = style.getPropertyValue("--panel");
  for (const [kind, alpha] of [["changed", 0.6], ["cleared", 0.88]]) {
    context.globalAlpha = alpha;
    for (const [first, last] of store.stale[kind][id] ?? []) {
      for (let begin = first; begin <= last; begin++) {
        if (store.fresh.has(begin)) continue;
        let end = begin;
        while (end < last && !store.fresh.has(end + 1)) end++;
        const left = Math.max(GUTTER, xOf(begin - 0.5)), right = Math.min(width() - PAD + 1, xOf(end + 0.5));
        if (right > left) context.fillRect(left, top - 1, right - left, base + 5 - top);
        begin = end;
      }
    }
  }
  context.globalAlpha = 1;
}

// Each pixel shows the lowest score of its frames, so that a short doubt in a long video is seen.
function drawBytes(id, top, base) {
  const bytes = store.timeline.get(id);
  if (!bytes) return;
  const end = width() - PAD, [a, b] = inSight(), perPixel = (b - a) / (end - GUTTER);
  const curve = [];
  for (let x = GUTTER; x <= end; x++) {
    const from = Math.max(0, Math.round(indexAt(x) - perPixel / 2)), to = Math.max(from, Math.round(indexAt(x) + perPixel / 2));
    let lowest = 256, isPresent = false, isTracked = false;
    for (let n = from; n <= to && n < bytes.length; n++) {
      if (bytes[n] === 0) continue;
      isTracked = true;
      lowest = Math.min(lowest, bytes[n]);
      isPresent ||= bytes[n] > 1;
    }
    if (isPresent) {
      context.fillStyle = colour(id);
      context.fillRect(x, base, 1, 4);
    }
    curve.push(isTracked ? (lowest <= 1 ? 0 : (lowest - 2) / 253) : null);
  }
  const yAt = (score) => base - 1 - score * (base - 2 - top);
  context.beginPath();
  let isOpen = false;
  curve.forEach((score, n) => {
    const x = GUTTER + n;
    if (score !== null && !isOpen) { context.moveTo(x, base - 1); isOpen = true; }
    if (score !== null) context.lineTo(x, yAt(score));
    if (isOpen && (score === null || n === curve.length - 1)) { context.lineTo(x, base - 1); context.closePath(); isOpen = false; }
  });
  context.fillStyle = colour(id, 0.22);
  context.fill();
  context.beginPath();
  curve.forEach((score, n) => {
    if (score === null) return;
    curve[n - 1] == null ? context.moveTo(GUTTER + n, yAt(score)) : context.lineTo(GUTTER + n, yAt(score));
  });
  context.strokeStyle = colour(id);
  context.lineWidth = 1.25;
  context.stroke();
}

function round(x, y, w, h, r) {
  context.beginPath();
  context.roundRect(x, y, w, h, r);
  context.fill();
}

function hatch(left, right, top, bottom, style) {
  context.save();
  context.beginPath();
  context.rect(Math.max(left, GUTTER), top, Math.max(right - Math.max(left, GUTTER), 3), bottom - top);
  context.clip();
  context.strokeStyle = style;
  context.globalAlpha = 0.55;
  context.lineWidth = 1;
  for (let x = left - 30; x < right + 30; x += 5) stroke(x, bottom, x + (bottom - top), top);
  context.globalAlpha = 1;
  context.strokeRect(left + 0.5, top + 0.5, Math.max(right - left, 3) - 1, bottom - top - 1);
  context.restore();
}

function diamond(x, y, fill, edge) {
  if (x < GUTTER - 6) return;
  context.beginPath();
  context.moveTo(x, y - 6);
  context.lineTo(x + 6, y);
  context.lineTo(x, y + 6);
  context.lineTo(x - 6, y);
  context.closePath();
  context.fillStyle = fill;
  context.fill();
  context.strokeStyle = edge;
  context.lineWidth = 1.25;
  context.stroke();
}

function drawPlayhead(h, accent) {
  const x = Math.round(xOf(store.frame)) + 0.5;
  if (x < GUTTER - 1) return;
  context.strokeStyle = context.fillStyle = accent;
  context.lineWidth = 1.5;
  stroke(x, 4, x, h);
  context.beginPath();
  context.roundRect(x - 5, 1, 10, 8, 3);
  context.fill();
}

// A small mark over each doubtful frame.
function drawDoubts(ids, danger) {
  context.fillStyle = danger;
  for (const { object, frame } of store.project ? openDoubts() : []) {
    const x = xOf(frame), y = RULER + 4 + ids.indexOf(object) * ROW - scroll;
    if (x < GUTTER || y < RULER) continue;
    context.beginPath();
    context.moveTo(x - 4, y);
    context.lineTo(x + 4, y);
    context.lineTo(x, y + 6);
    context.fill();
  }
}

function short(name, most) {
  if (context.measureText(name).width <= most) return name;
  while (name.length > 1 && context.measureText(`${name}…`).width > most) name = name.slice(0, -1);
  return `${name}…`;
}

function keepInSight() {
  if (!span) return;
  const [a, b] = span, length = b - a;
  if (store.frame >= a && store.frame <= b) return;
  const first = Math.min(Math.max(0, store.frame - length * 0.1), Math.max(0, numFrames() - 1 - length));
  span = [first, first + length];
}

canvas.addEventListener("pointerdown", (event) => {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  if (x < GUTTER) {
    const id = objectIds()[Math.floor((y - RULER - 4 + scroll) / ROW)];
    if (id) document.dispatchEvent(new CustomEvent("select-object", { detail: id }));
    return;
  }
  isDragging = true;
  canvas.setPointerCapture(event.pointerId);
  go(x);
});
canvas.addEventListener("pointermove", (event) => { if (isDragging) go(event.clientX - canvas.getBoundingClientRect().left); });
canvas.addEventListener("pointerup", () => { isDragging = false; });
canvas.addEventListener("pointercancel", () => { isDragging = false; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (!event.ctrlKey && !event.metaKey && objectIds().length > MAX_ROWS) {
    scroll = Math.max(0, scroll + Math.sign(event.deltaY) * ROW);
    return redraw();
  }
  const at = indexAt(event.clientX - canvas.getBoundingClientRect().left), [a, b] = inSight(), most = numFrames() - 1;
  const factor = Math.exp(event.deltaY * 0.0015), length = Math.min(Math.max((b - a) * factor, Math.min(20, most)), most);
  const first = Math.min(Math.max(at - (at - a) * (length / (b - a)), 0), most - length);
  span = length >= most ? null : [first, first + length];
  redraw();
}, { passive: false });

function go(x) {
  store.isPlaying = false;
  store.isFollowing = false;
  document.dispatchEvent(new CustomEvent("scrub"));
  show(indexAt(x));
}

function scrollToObject() {
  const top = objectIds().indexOf(store.object) * ROW, most = (MAX_ROWS - 1) * ROW;
  scroll = Math.max(0, Math.min(Math.max(scroll, top - most), top));
}

on("frame", keepInSight);
on("object", scrollToObject);
on("video project", layOut);
on("timeline frame times object doubts stale", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layOut);
new ResizeObserver(layOut).observe(canvas);
