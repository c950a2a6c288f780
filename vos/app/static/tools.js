// What the pointer does on the canvas.
import { store, on, emit } from "./store.js";
import { send } from "./link.js";
import * as view from "./view.js";

const canvas = view.canvas;
const HOVER_MS = 60, REST_MS = 120, LOOK_MS = 250, MAX_POINTS = 2000;
let action = null, hovered = 0, lastHover = "", resting = 0, looking = 0;

const whole = ({ x, y }) => ({ x: Math.round(x), y: Math.round(y) });
const clamp = ({ x, y }) => ({
  x: Math.min(Math.max(x, 0), store.video.width - 1),
  y: Math.min(Math.max(y, 0), store.video.height - 1),
});

export function setTool(tool) {
  store.tool = tool;
  view.setPreview(null);
  emit("tool");
}

canvas.addEventListener("mousedown", (event) => event.preventDefault());  // keys go to the page
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("pointerdown", (event) => {
  if (!store.video) return;
  document.activeElement?.blur?.();
  clearTimeout(resting);
  const point = view.toFrame(event), isPan = event.button === 1 || store.tool === "hand";
  if (!isPan && !view.isCurrent()) return stopAtFrame();
  if (isPan) action = { kind: "pan", x: event.clientX, y: event.clientY };
  else if (store.isSplit && Math.abs(point.x - store.split * store.video.width) < 0.012 * store.video.width) action = { kind: "split" };
  else if (store.tool === "click") {
    if (view.isInside(point) && event.button !== 1) click(whole(point), event.button === 0 && !event.altKey && !event.shiftKey);
    return;
  } else if (store.tool === "box" && event.button === 0) action = { kind: "box", from: clamp(point), to: clamp(point) };
  else if (store.tool === "brush" || store.tool === "eraser") {
    const isErasing = store.tool === "eraser" || event.button === 2 || event.altKey;
    action = { kind: "stroke", isErasing, points: [point], frame: store.frame, object: store.object };
    view.paintStroke(point, point, isErasing);
  } else return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
});

canvas.addEventListener("pointermove", (event) => {
  if (!store.video) return;
  const point = view.toFrame(event);
  view.setPointer(point);
  if (!action) return hover(event, point);
  if (action.kind === "pan") {
    view.movePan(event.clientX - action.x, event.clientY - action.y);
    action.x = event.clientX;
    action.y = event.clientY;
  } else if (action.kind === "split") {
    store.split = Math.min(Math.max(point.x / store.video.width, 0), 1);
    emit("view");
  } else if (action.kind === "box") {
    action.to = clamp(point);
    view.setDraft(boxOf(action));
  } else if (action.kind === "stroke" && action.points.length < MAX_POINTS) {
    view.paintStroke(action.points.at(-1), point, action.isErasing);
    action.points.push(point);
  }
});

canvas.addEventListener("pointerup", finish);
canvas.addEventListener("pointercancel", () => { action = null; view.setDraft(null); });
canvas.addEventListener("pointerleave", () => { clearTimeout(resting); view.setPointer(null); view.setPreview(null); lastHover = ""; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.ctrlKey || event.metaKey || !event.shiftKey) view.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event);
  else view.movePan(-event.deltaY, 0);
}, { passive: false });

function boxOf({ from, to }) {
  return [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.max(from.x, to.x), Math.max(from.y, to.y)].map(Math.round);
}

function finish() {
  const done = action;
  action = null;
  if (!done) return;
  if (done.kind === "box") {
    view.setDraft(null);
    const box = boxOf(done);
    if (box[2] > box[0] && box[3] > box[1]) edit({ type: "box", frame: store.frame, object: store.object, box });
  } else if (done.kind === "stroke") {
    const points = done.points.map(({ x, y }) => [Math.round(x * 8) / 8, Math.round(y * 8) / 8]);
    edit({ type: "stroke", frame: done.frame, object: done.object, radius: store.brush, points, erase: done.isErasing });
  }
}

function click({ x, y }, positive) {
  view.setPreview(null);
  view.setPending({ x, y, positive });
  edit({ type: "click", frame: store.frame, object: store.object, x, y, positive });
}

function stopAtFrame() {
  store.isPlaying = false;
  store.isFollowing = false;
  emit("play");
}

function edit(message) {
  stopAtFrame();
  emit("edit", message);
  send(message);
}

function hover(event, point) {
  clearTimeout(resting);
  if (store.tool !== "click" || store.isPlaying || store.status !== "ready" || event.buttons) return;
  if (!view.isInside(point) || !view.isCurrent()) return view.setPreview(null);
  const { x, y } = whole(point), where = `${store.frame} ${x} ${y}`, now = performance.now();
  const at = { frame: store.frame, object: store.object, x, y };
  resting = setTimeout(() => { if (at.frame === store.frame && at.object === store.object) send({ type: "rest", ...at }); }, REST_MS);
  if (where === lastHover || now - hovered < HOVER_MS) return;
  hovered = now;
  lastHover = where;
  send({ type: "hover", frame: store.frame, x, y });
}

// The server computes ahead what a click is likely to need.
on("frame linked", () => {
  clearTimeout(looking);
  looking = setTimeout(() => { if (!store.isPlaying && !store.isFollowing) send({ type: "look", frame: store.frame }); }, LOOK_MS);
});

on("preview", ({ frame, object, polygons }) => {
  if (frame !== store.frame) return;
  if (object !== null) view.setSketch({ object, polygons });
  else if (lastHover) view.setPreview(polygons);
});
on("tool video", () => {
  canvas.style.cursor = { click: "crosshair", box: "crosshair", hand: "grab", brush: "none", eraser: "none" }[store.tool];
});
