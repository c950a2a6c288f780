// The canvas: the frame with its masks, in one of several ways, under zoom and pan.
import { store, on, emit, colour, rgbOf, staleKind, objectIds, nameOf } from "./store.js";

const canvas = document.getElementById("view"), context = canvas.getContext("2d");
const overlay = document.createElement("canvas"), over = overlay.getContext("2d");
const strokes = document.createElement("canvas"), stroke = strokes.getContext("2d");
let current = null;       // index, bitmap, labels
let preview = null;       // polygons under the pointer
let draft = null;         // a box that is being drawn
let pointer = null;       // where the brush is, frame pixels
let sketch = null;        // what a click is likely to mean, until its mask is there
let pending = null;       // a click whose mask is being made
let hasStroke = false, isQueued = false;
let fit = { scale: 1, x: 0, y: 0 }, zoom = 1, pan = { x: 0, y: 0 };

export { canvas };

function aspect() { return store.video?.aspect || 1; }
function scaleXY() { const s = fit.scale * zoom; return [s * aspect(), s]; }

export function toFrame(event) {
  const box = canvas.getBoundingClientRect(), [sx, sy] = scaleXY();
  return { x: (event.clientX - box.left - fit.x - pan.x) / sx - 0.5, y: (event.clientY - box.top - fit.y - pan.y) / sy - 0.5 };
}

export function isInside({ x, y }) {
  return store.video && x > -0.5 && y > -0.5 && x < store.video.width - 0.5 && y < store.video.height - 0.5;
}

// Until a frame is there, the one before it is still to be seen: nothing may be shown on that.
export function isCurrent() { return current?.index === store.frame; }

function layOut() {
  const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  if (!store.video) return;
  const margin = 16, width = store.video.width * aspect(), height = store.video.height;
  const scale = Math.min((box.width - 2 * margin) / width, (box.height - 2 * margin) / height);
  fit = { scale, x: (box.width - width * scale) / 2, y: (box.height - height * scale) / 2 };
  redraw();
}

export function fitView() { zoom = 1; pan = { x: 0, y: 0 }; emit("zoom", zoom); redraw(); }

export function zoomAt(factor, event) {
  const box = canvas.getBoundingClientRect();
  const at = event ? { x: event.clientX - box.left, y: event.clientY - box.top } : { x: box.width / 2, y: box.height / 2 };
  const next = Math.min(Math.max(zoom * factor, 1), 40);
  for (const axis of ["x", "y"]) pan[axis] = at[axis] - fit[axis] - (at[axis] - fit[axis] - pan[axis]) * (next / zoom);
  zoom = next;
  if (zoom === 1) pan = { x: 0, y: 0 };
  emit("zoom", zoom);
  redraw();
}

export function movePan(dx, dy) { pan.x += dx; pan.y += dy; redraw(); }
export function brushRadiusOnScreen() { return store.brush * scaleXY()[1]; }

export function setPreview(polygons) { preview = polygons; redraw(); }
export function setPending(click) { pending = click && { ...click, since: performance.now() }; redraw(); }
export function setSketch(next) { sketch = next; redraw(); }
export function setDraft(box) { draft = box; redraw(); }
export function setPointer(point) { pointer = point; redraw(); }

// The stroke as it is painted, until the server's mask takes its place.
export function paintStroke(from, to, isErasing) {
  stroke.globalCompositeOperation = "source-over";
  stroke.strokeStyle = stroke.fillStyle = isErasing ? "rgb(255 255 255 / 1)" : colour(store.object);
  stroke.lineWidth = 2 * store.brush;
  stroke.lineCap = stroke.lineJoin = "round";
  stroke.beginPath();
  stroke.moveTo(from.x + 0.5, from.y + 0.5);
  stroke.lineTo(to.x + 0.501, to.y + 0.5);
  stroke.stroke();
  hasStroke = true;
  redraw();
}

function clearStroke() {
  if (hasStroke) stroke.clearRect(0, 0, strokes.width, strokes.height);
  hasStroke = false;
}

function redraw() {
  if (isQueued) return;
  isQueued = true;
  requestAnimationFrame(() => { isQueued = false; draw(); });
}

// Colours of every id as little-endian RGBA words; hidden objects are like background.
function words(alphaOf, isSeen) {
  const lut = new Uint32Array(256);
  for (let id = 1; id < 256; id++) {
    const [r, g, b] = rgbOf(id);
    if (isSeen[id]) lut[id] = ((alphaOf(id) << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  return lut;
}

function compose() {
  const { width, height } = store.video, labels = current.labels;
  if (overlay.width !== width || overlay.height !== height) {
    overlay.width = strokes.width = width;
    overlay.height = strokes.height = height;
  }
  const isSeen = new Uint8Array(256).fill(1), isOld = new Uint8Array(256);
  for (const id of store.hidden) isSeen[id] = 0;
  for (const id of objectIds()) {
    const kind = staleKind(id, current.index);
    if (kind === "cleared") isSeen[id] = 0;
    if (kind === "changed") isOld[id] = 1;
  }
  const image = over.createImageData(width, height), out = new Uint32Array(image.data.buffer);
  if (labels.length !== out.length) return;
  if (store.view === "matte" || store.view === "cutout") {
    const isMatte = store.view === "matte";
    isSeen[0] = 0;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (isSeen[labels[at]]) out[at] = isMatte ? 0xffffffff : 0;
        else out[at] = isMatte ? 0xff000000 : ((x >> 4) + (y >> 4)) & 1 ? 0xffb9b9b9 : 0xffdadada;
      }
    }
  } else {
    const isFilled = store.view === "overlay";
    const fill = words((id) => (isOld[id] ? 40 : 112), isSeen), edge = words(() => 255, isSeen);
    const radius = Math.max(1, Math.round(Math.min(width, height) / 480));
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const id = labels[at];
        if (id === 0 || !isSeen[id]) continue;
        const isEdge = x < radius || y < radius || x >= width - radius || y >= height - radius ||
          labels[at - radius] !== id || labels[at + radius] !== id ||
          labels[at - radius * width] !== id || labels[at + radius * width] !== id;
        if (isEdge && (!isOld[id] || (x + y) % (8 * radius) < 5 * radius)) out[at] = edge[id];
        else if (isFilled) out[at] = fill[id];
      }
    }
  }
  over.putImageData(image, 0, 0);
  const old = objectIds().filter((id) => isOld[id] && isSeen[id] && labels.includes(id)).map(nameOf);
  document.getElementById("stale").hidden = !old.length;
  document.getElementById("stale-text").textContent = old.length > 2 ? `${old.length} objects` : old.join(" and ");
}

function draw() {
  const ratio = devicePixelRatio || 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!current || !store.video) return;
  const [sx, sy] = scaleXY(), { width, height } = store.video;
  context.setTransform(ratio * sx, 0, 0, ratio * sy, ratio * (fit.x + pan.x), ratio * (fit.y + pan.y));
  context.imageSmoothingEnabled = sy * ratio < 3;
  context.imageSmoothingQuality = "high";
  context.drawImage(current.bitmap, 0, 0, width, height);
  context.save();
  const splitX = store.isSplit ? width * store.split : 0;
  if (store.isSplit) {
    context.beginPath();
    context.rect(splitX, 0, width - splitX, height);
    context.clip();
  }
  if (store.view !== "original") context.drawImage(overlay, 0, 0);
  if (hasStroke) {
    context.globalAlpha = 0.55;
    context.drawImage(strokes, 0, 0);
    context.globalAlpha = 1;
  }
  context.restore();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const at = (x, y) => [(x + 0.5) * sx + fit.x + pan.x, (y + 0.5) * sy + fit.y + pan.y];
  if (store.isSplit) drawSplit(at(splitX - 0.5, 0)[0], at(0, -0.5)[1], at(0, height - 0.5)[1]);
  if (!isCurrent()) return;
  if (sketch?.polygons.length) drawOutlines(at, sketch.polygons, colour(sketch.object, 0.4), colour(sketch.object), []);
  else if (preview?.length && store.tool === "click") drawOutlines(at, preview, "rgb(255 255 255 / .2)", "rgb(255 255 255 / .95)", [5, 4]);
  if (store.view === "overlay" || store.view === "contour" || store.view === "original") drawMarks(at);
  if (pending) drawPending(at(pending.x, pending.y));
  if (draft) drawBox(at, draft, colour(store.object), []);
  if (pointer && (store.tool === "brush" || store.tool === "eraser")) drawBrush(at(pointer.x, pointer.y), brushRadiusOnScreen());
}

function drawSplit(x, top, bottom) {
  context.strokeStyle = "rgb(0 0 0 / .5)";
  context.lineWidth = 4;
  line([[x, top], [x, bottom]]);
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  line([[x, top], [x, bottom]]);
  const y = (top + bottom) / 2;
  context.beginPath();
  context.arc(x, y, 11, 0, 7);
  context.fillStyle = "#fff";
  context.shadowColor = "rgb(0 0 0 / .35)";
  context.shadowBlur = 6;
  context.fill();
  context.shadowBlur = 0;
  context.strokeStyle = "#334";
  context.lineWidth = 1.5;
  line([[x - 3, y - 4], [x - 6, y], [x - 3, y + 4]]);
  line([[x + 3, y - 4], [x + 6, y], [x + 3, y + 4]]);
}

function line(points) {
  context.beginPath();
  points.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function drawOutlines(at, polygons, fill, edge, dash) {
  context.beginPath();
  for (const polygon of polygons) {
    for (let n = 0; n < polygon.length; n += 2) {
      const [x, y] = at(polygon[n], polygon[n + 1]);
      n ? context.lineTo(x, y) : context.moveTo(x, y);
    }
    context.closePath();
  }
  context.fillStyle = fill;
  context.fill("evenodd");
  context.setLineDash(dash);
  context.lineWidth = 1.5;
  context.strokeStyle = edge;
  context.stroke();
  context.setLineDash([]);
}

function drawBox(at, [x0, y0, x1, y1], style, dash) {
  const [left, top] = at(x0 - 0.5, y0 - 0.5), [right, bottom] = at(x1 + 0.5, y1 + 0.5);
  context.lineWidth = 3.5;
  context.strokeStyle = "rgb(0 0 0 / .45)";
  context.strokeRect(left, top, right - left, bottom - top);
  context.setLineDash(dash);
  context.lineWidth = 2;
  context.strokeStyle = style;
  context.strokeRect(left, top, right - left, bottom - top);
  context.setLineDash([]);
}

function drawMarks(at) {
  const marks = store.project?.marks[current.index];
  if (!marks) return;
  for (const [id, hint] of Object.entries(marks.hints)) {
    if (store.hidden.has(Number(id))) continue;
    for (const box of hint.boxes) drawBox(at, box, colour(id), [6, 4]);
    for (const [x, y, isPositive] of hint.clicks) drawClick(at(x, y), isPositive, colour(id));
  }
  for (const [id, clicks] of Object.entries(marks.corrections)) {
    if (store.hidden.has(Number(id))) continue;
    for (const [x, y, isPositive] of clicks) drawClick(at(x, y), isPositive, colour(id));
  }
}

function drawClick([x, y], isPositive, style) {
  context.beginPath();
  context.arc(x, y, 7, 0, 7);
  context.fillStyle = isPositive ? style : "#fff";
  context.strokeStyle = isPositive ? "#fff" : "#b3402a";
  context.lineWidth = 2;
  context.shadowColor = "rgb(0 0 0 / .5)";
  context.shadowBlur = 4;
  context.fill();
  context.shadowBlur = 0;
  context.stroke();
  context.strokeStyle = isPositive ? "rgb(0 0 0 / .75)" : "#b3402a";
  context.lineWidth = 1.8;
  line([[x - 3, y], [x + 3, y]]);
  if (isPositive) line([[x, y - 3], [x, y + 3]]);
}

function drawPending([x, y]) {
  drawClick([x, y], pending.positive, colour(store.object));
  const turn = ((performance.now() - pending.since) / 900) % 1;
  context.beginPath();
  context.arc(x, y, 12, turn * 6.283, turn * 6.283 + 4.2);
  context.strokeStyle = "#fff";
  context.lineWidth = 2.5;
  context.lineCap = "round";
  context.shadowColor = "rgb(0 0 0 / .6)";
  context.shadowBlur = 4;
  context.stroke();
  context.shadowBlur = 0;
  context.lineCap = "butt";
  if (performance.now() - pending.since < 20000) redraw();
}

function drawBrush([x, y], radius) {
  for (const [style, width] of [["rgb(0 0 0 / .6)", 3], [store.tool === "eraser" ? "#fff" : colour(store.object), 1.5]]) {
    context.beginPath();
    context.arc(x, y, Math.max(radius, 1), 0, 7);
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}

on("picture", (picture) => {
  current = picture;
  preview = sketch = null;
  clearStroke();
  compose();
  redraw();
});
on("view stale", () => { if (current) compose(); redraw(); });
on("video", layOut);
on("project notice", () => { pending = sketch = null; redraw(); });
on("object tool", redraw);
new ResizeObserver(layOut).observe(canvas);
