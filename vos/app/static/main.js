// Puts the page together: buttons, keys, panels.
import { store, on, emit, numFrames, seconds, clock, objectIds } from "./store.js";
import { connect, send } from "./link.js";
import { show } from "./pictures.js";
import * as view from "./view.js";
import { setTool } from "./tools.js";
import "./timeline.js";
import { selectObject, renameObject, colourObject } from "./objects.js";
import { notice } from "./notices.js";
import { openDialog } from "./dialogs.js";
import "./review.js";
import "./export.js";
import "./tips.js";

const $ = (id) => document.getElementById(id);
const VIEWS = [["overlay", "Overlay"], ["contour", "Contour"], ["matte", "Matte"], ["cutout", "Cut-out"], ["original", "Original"]];

// Views.

for (const [view_, label] of VIEWS) {
  const button = document.createElement("button");
  button.textContent = label;
  button.dataset.view = view_;
  button.dataset.keys = "V";
  button.setAttribute("role", "radio");
  button.onclick = () => setView(view_);
  $("views").append(button);
}
const separator = document.createElement("span");
separator.className = "sep";
const split = document.createElement("button");
split.textContent = "Before / after";
split.className = "split";
split.dataset.keys = "S";
split.onclick = toggleSplit;
$("views").append(separator, split);

function setView(name) {
  store.view = name;
  for (const button of $("views").querySelectorAll("[data-view]")) button.setAttribute("aria-checked", button.dataset.view === name);
  emit("view");
}

function toggleSplit() {
  store.isSplit = !store.isSplit;
  split.setAttribute("aria-pressed", store.isSplit);
  emit("view");
}

// Tools.

for (const button of $("tools").querySelectorAll("[data-tool]")) button.onclick = () => setTool(button.dataset.tool);
on("tool", () => {
  for (const button of $("tools").querySelectorAll("[data-tool]")) button.classList.toggle("on", button.dataset.tool === store.tool);
  $("size-box").hidden = store.tool !== "brush" && store.tool !== "eraser";
});

function setBrush(size) {
  store.brush = Math.min(Math.max(Math.round(size), 1), 150);
  $("size").value = store.brush;
  $("size-out").textContent = store.brush;
  emit("tool");
}
$("size").oninput = () => setBrush(Number($("size").value));
$("fit").onclick = view.fitView;
on("zoom", (zoom) => {
  $("zoom").hidden = zoom === 1;
  $("zoom").textContent = `${zoom.toFixed(1)} ×`;
});

$("import").onclick = () => $("mask-file").click();
$("mask-file").onchange = async () => {
  const file = $("mask-file").files[0];
  $("mask-file").value = "";
  if (!file) return;
  const response = await fetch(`/mask/${store.frame}`, { method: "POST", body: file });
  if (!response.ok) notice(await response.text(), "error");
};

// Time.

function step(count) {
  stopPlaying();
  store.isFollowing = false;
  show(store.frame + count);
}

let playFrom = null;
function togglePlay() {
  if (store.isPlaying) return stopPlaying();
  store.isPlaying = true;
  store.isFollowing = false;
  if (store.frame >= numFrames() - 1) show(0);
  playFrom = { at: performance.now(), seconds: seconds(store.frame) };
  emit("play");
  requestAnimationFrame(tick);
}

function stopPlaying() {
  store.isPlaying = false;
  emit("play");
}

function tick() {
  if (!store.isPlaying) return;
  const now = playFrom.seconds + (performance.now() - playFrom.at) / 1000;
  let index = store.frame;
  while (index + 1 < numFrames() && seconds(index + 1) <= now) index++;
  if (index !== store.frame) show(index);
  if (index >= numFrames() - 1) return stopPlaying();
  requestAnimationFrame(tick);
}

$("prev").onclick = () => step(-1);
$("next").onclick = () => step(1);
$("play").onclick = togglePlay;
document.addEventListener("scrub", stopPlaying);
on("play", () => {
  $("play").querySelector("use").setAttribute("href", store.isPlaying ? "#i-pause" : "#i-play");
  $("play").setAttribute("aria-label", store.isPlaying ? "Pause" : "Play");
});
$("frame-number").onchange = () => { step(Number($("frame-number").value) - store.frame || 0); };
on("frame video times", () => {
  $("time").textContent = clock(seconds(store.frame));
  $("frame-number").value = store.frame;
  $("last-frame").textContent = numFrames() - 1;
});

// The range.

function setRange(first, last) {
  const range = [Math.max(0, Math.min(first, last)), Math.max(first, last)];
  const isAll = range[0] === 0 && range[1] >= numFrames() - 1;
  send({ type: "range", range: isAll ? null : range });
}
const rangeIn = () => { const last = store.project.tracked?.[1] ?? numFrames() - 1; setRange(store.frame, Math.max(last, store.frame)); };
const rangeOut = () => { const first = store.project.tracked?.[0] ?? 0; setRange(Math.min(first, store.frame), store.frame); };
$("range-in").onclick = rangeIn;
$("range-out").onclick = rangeOut;
$("clear-range").onclick = () => send({ type: "range", range: null });

// Tracking.

let correctedFrame = null;  // whoever watches an update comes back to it
function track(direction) {
  stopPlaying();
  store.isFollowing = true;
  correctedFrame = store.isComplete ? store.frame : null;
  send({ type: "track", frame: store.frame, direction });
}
// A key on a button that is off would do nothing and say nothing.
function press(id) {
  if (!$(id).disabled) return $(id).click();
  if (store.status === "loading") notice("The model is still loading; press the key again in a moment.");
  else if (store.isUpToDate) notice("Everything is tracked already.");
  else if (store.status === "ready") notice("Nothing to track yet: click an object first.");
}
$("track").onclick = () => track("both");
$("track-on").onclick = () => track("forwards");
$("track-back").onclick = () => track("backwards");
$("stop").onclick = () => send({ type: "stop" });
$("undo").onclick = () => send({ type: "undo" });
$("redo").onclick = () => send({ type: "redo" });

let wasLinked = true;
function showRun() {
  const { run, status } = store, isRunning = status === "tracking" || status === "exporting";
  const hasMarks = Object.keys(store.project?.marks ?? {}).length > 0;
  $("stop").hidden = !isRunning;
  for (const id of ["track", "track-on", "track-back"]) {
    $(id).hidden = isRunning;
    $(id).disabled = !hasMarks || status !== "ready";
  }
  $("track").disabled ||= store.isUpToDate;
  $("progress").hidden = !isRunning;
  if (isRunning && run) {
    const share = run.total ? Math.min(run.done / run.total, 1) : 0;
    $("progress-bar").style.width = `${100 * share}%`;
    const left = run.rate && run.total ? (run.total - run.done) / run.rate : null;
    $("run-text").textContent = [
      status === "exporting" ? "Exporting" : "",
      run.total ? `${run.done} of ${run.total}` : "Starting…",
      run.rate ? `${run.rate.toFixed(1)} frames/s` : "",
      left !== null ? `${duration(left)} left` : "",
    ].filter(Boolean).join("  ·  ");
  } else {
    $("run-text").textContent = !wasLinked ? "Not connected" : status === "loading" ? "Loading the model…" : status === "failed" ? "No model" : wordsOfResults();
  }
  const isAgain = store.timeline.size > 0;
  $("track").textContent = isAgain ? (store.isComplete ? "Update" : "Go on") : store.project?.tracked ? "Track range" : "Track all";
  $("track").dataset.tip = isAgain ? "Track what has changed or is not done" : "Track all frames, or the range";
}

function wordsOfResults() {
  if (store.isUpToDate) return "Up to date";
  if (!store.timeline.size || !Object.keys(store.project?.marks ?? {}).length) return "";
  if (!store.isComplete) return "Stopped";
  const isStale = Object.values(store.stale.changed).some((spans) => spans.length) || Object.values(store.stale.cleared).some((spans) => spans.length);
  return isStale ? "Edits not tracked yet" : "Not all frames tracked";
}

function duration(value) {
  return value < 60 ? `${Math.ceil(value)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

let wasTracking = false;
function comeBack() {
  const isTracking = store.status === "tracking";
  if (wasTracking && !isTracking && store.isFollowing && correctedFrame !== null) show(correctedFrame);
  wasTracking = isTracking;
}

let lastFollowed = 0;
on("run", () => {
  showRun();
  const now = performance.now();
  if (store.isFollowing && store.run?.head != null && now - lastFollowed > 240) {
    lastFollowed = now;
    show(store.run.head);
  }
});

on("project", () => {
  const { project } = store;
  $("undo").disabled = !store.undo;
  $("redo").disabled = !store.redo;
  $("undo").dataset.tip = store.undo ? `Undo: ${store.undo}` : "Undo";
  $("redo").dataset.tip = store.redo ? `Redo: ${store.redo}` : "Redo";
  showWelcome();
  $("range-box").hidden = !project.tracked;
  if (project.tracked) $("range-text").textContent = `frames ${project.tracked[0]} – ${project.tracked[1]}`;
  $("show-export").disabled = store.timeline.size === 0 || store.status !== "ready";
  showRun();
  comeBack();
});
let hasPicture = false;
function showWelcome() {
  $("welcome").hidden = !hasPicture || Object.keys(store.project?.marks ?? {}).length > 0;
}
on("picture", () => {
  if (hasPicture) return;
  hasPicture = true;
  showWelcome();
});
on("edit", () => { $("welcome").hidden = true; });
on("video", () => {
  const { video } = store;
  document.title = `${video.name} · vos`;
  $("title").textContent = video.name;
  $("facts").textContent = `${video.width} × ${video.height}  ·  ${+video.rate.toFixed(2)} fps`;
});
on("notice", ({ text, kind }) => notice(text, kind));
on("stale", showRun);
on("linked", (isLinked) => {
  document.body.classList.toggle("unlinked", !isLinked);
  if (wasLinked && !isLinked && store.video) notice("The server does not answer; edits wait until it does.", "error");
  wasLinked = isLinked;
  if (store.video) showRun();
});

// Dialogs.

async function showCommand() {
  if (!Object.keys(store.project?.marks ?? {}).length) return notice("Show an object first; then there is a command.", "error");
  const response = await fetch("/command"), text = await response.text();
  if (!response.ok) return notice(text, "error");
  $("command-text").textContent = text;
  openDialog("command-dialog");
}
$("show-command").onclick = showCommand;
$("copy-command").onclick = async () => {
  await navigator.clipboard.writeText($("command-text").textContent);
  notice("Copied");
};
const showKeys = () => openDialog("keys-dialog");
$("show-keys").onclick = showKeys;

// Keys.

const KEYS = [
  ["Click, box, brush, eraser, hand", ["C", "X", "B", "E", "H"], null],
  ["Not the object", ["Right click", "Alt click"], null],
  ["Size of the brush", ["[", "]"], null],
  ["Import a mask", ["M"], { m: () => $("import").click() }],
  ["Another object", ["N"], { n: () => send({ type: "add_object" }) }],
  ["Choose an object", ["1 – 9"], null],
  ["Name the object", ["R"], { r: () => renameObject(store.object) }],
  ["Colour of the object", ["Shift C"], { "Shift+C": () => colourObject(store.object) }],
  ["Absent here, in the range", ["A", "Shift A"], { a: () => $("absent").click(), "Shift+A": () => $("absent-in-range").click() }],
  ["Take back on this frame", ["Del"], { Delete: () => $("clear").click(), Backspace: () => $("clear").click() }],
  ["Frame before, after", ["←", "→"], { ArrowLeft: () => step(-1), ArrowRight: () => step(1) }],
  ["Ten frames", ["Shift ←", "Shift →"], { "Shift+ArrowLeft": () => step(-10), "Shift+ArrowRight": () => step(10) }],
  ["First, last frame", ["Home", "End"], { Home: () => step(-numFrames()), End: () => step(numFrames()) }],
  ["Corrected frame before, after", ["J", "L"], { j: () => toMark(-1), l: () => toMark(1) }],
  ["Play", ["Space"], { " ": togglePlay }],
  ["Range in, out", ["I", "O"], { i: rangeIn, o: rangeOut }],
  ["Track", ["T"], { t: () => press("track") }],
  ["Track on, back from here", ["Ctrl Enter", "Shift T"], { "Ctrl+Enter": () => press("track-on"), "Shift+T": () => press("track-back") }],
  ["Stop", ["Esc"], { Escape: () => { if (!$("stop").hidden) $("stop").click(); } }],
  ["Next doubtful frame", ["D"], { d: () => $("next-doubt").click() }],
  ["It is right as it is", ["G"], { g: () => $("accept-doubt").click() }],
  ["View", ["V"], { v: () => setView(VIEWS[(VIEWS.findIndex(([name]) => name === store.view) + 1) % VIEWS.length][0]) }],
  ["Before and after", ["S"], { s: toggleSplit }],
  ["Zoom in, out, fit", ["+", "−", "0"], { "+": () => view.zoomAt(1.25), "=": () => view.zoomAt(1.25), "-": () => view.zoomAt(0.8), 0: view.fitView }],
  ["Undo, redo", ["Ctrl Z", "Ctrl Shift Z"], { "Ctrl+z": () => send({ type: "undo" }), "Ctrl+Shift+Z": () => send({ type: "redo" }), "Ctrl+y": () => send({ type: "redo" }) }],
  ["Show the command", ["K"], { k: showCommand }],
  ["Export", ["P"], { p: () => $("show-export").click() }],
  ["Keys", ["?"], { "?": showKeys }],
];
const bindings = new Map([
  ["c", () => setTool("click")], ["x", () => setTool("box")], ["b", () => setTool("brush")], ["e", () => setTool("eraser")], ["h", () => setTool("hand")],
  ["[", () => setBrush(store.brush / 1.2 - 0.5)], ["]", () => setBrush(store.brush * 1.2 + 0.5)],
]);
for (const [label, keys, actions] of KEYS) {
  const row = document.createElement("div"), text = document.createElement("span"), caps = document.createElement("span");
  text.textContent = label;
  for (const key of keys) caps.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  row.append(text, caps);
  $("keys").append(row);
  for (const [key, action] of Object.entries(actions ?? {})) bindings.set(key, action);
}

function toMark(direction) {
  const frames = Object.keys(store.project.marks).map(Number);
  const next = direction > 0 ? frames.find((each) => each > store.frame) : frames.reverse().find((each) => each < store.frame);
  if (next !== undefined) step(next - store.frame);
}

// A button that was clicked does not keep the keys for itself.
document.addEventListener("click", (event) => {
  if (event.detail && event.target.closest("button") && !event.target.closest("dialog, [popover]")) document.activeElement?.blur();
});
document.addEventListener("keydown", (event) => {
  if (event.target.closest("dialog[open], input:not([type=range])") || !store.video) return;
  const isControl = event.ctrlKey || event.metaKey;
  if (!isControl && /^[1-9]$/.test(event.key)) return selectObject(objectIds()[Number(event.key) - 1]);
  const isNamed = event.key.length > 1 || isControl;
  const name = `${isControl ? "Ctrl+" : ""}${event.shiftKey && (isNamed || "TCA".includes(event.key)) ? "Shift+" : ""}${event.key}`;
  const action = bindings.get(name) ?? (isControl || event.altKey ? null : bindings.get(event.key.toLowerCase()));
  if (!action) return;
  if (event.key === " " && event.target.closest("button")) return;
  event.preventDefault();
  action();
});

// Begin.

let hasTimes = false;
on("video", async () => {
  show(store.frame);
  if (hasTimes) return;
  hasTimes = true;
  const response = await fetch("/times");
  if (response.ok) store.times = new Float32Array(await response.arrayBuffer());
  emit("times");
});
setView("overlay");
setTool("click");
setBrush(16);
connect();
