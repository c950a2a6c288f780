// What the page knows. Parts of it say when they change: on("frame", ...) and so on.

export const store = {
  video: null,          // name, source, width, height, aspect, rate, num_frames
  times: null,          // Float32Array, seconds of each frame, once they are known
  palette: [],          // [r, g, b] by object id
  project: null,        // names, marks, absences, tracked
  timeline: new Map(),  // object id -> Uint8Array: 0 not tracked, 1 absent, else score
  doubts: [],           // frames worth a look
  stale: { changed: {}, cleared: {} },  // object id -> [first, last] frames whose masks are of an earlier state
  fresh: new Set(),     // frames that were tracked since that was said
  export: null,         // what was exported last
  undo: null, redo: null, status: "loading", run: null, isComplete: false, isUpToDate: false,
  frame: 0, object: 1, tool: "click", view: "overlay", isSplit: false, split: 0.5,
  brush: 16, hidden: new Set(), isPlaying: false, isFollowing: false,
};

const listeners = new Map();

export function on(names, listener) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, []);
    listeners.get(name).push(listener);
  }
}

export function emit(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}

export function numFrames() {
  return store.times?.length || store.video?.num_frames || 1;
}

export function seconds(index) {
  return store.times?.[index] ?? index / (store.video?.rate || 25);
}

export function clock(value) {
  const minutes = Math.floor(value / 60), rest = value - 60 * minutes;
  return `${minutes}:${rest.toFixed(2).padStart(5, "0")}`;
}

export function rgbOf(id) {
  return store.project?.colours[id] ?? store.palette[id] ?? [128, 128, 128];
}

export function colour(id, alpha = 1) {
  const [r, g, b] = rgbOf(id);
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

export function nameOf(id) {
  return store.project?.names[id] ?? `object ${id}`;
}

export function objectIds() {
  return Object.keys(store.project?.names ?? {}).map(Number);
}

// Whether an object's mask in a frame is of an earlier state: an update makes it anew, or takes it away.
export function staleKind(id, index) {
  const holds = (spans) => spans?.some(([first, last]) => first <= index && index <= last);
  if (store.fresh.has(index) || isShown(id, index)) return null;
  if (holds(store.stale.cleared[id])) return "cleared";
  return holds(store.stale.changed[id]) ? "changed" : null;
}

function isShown(id, index) {
  const mark = store.project?.marks[index];
  return Boolean(mark && (mark.hints[id] || mark.painted.includes(id)));
}

export function scoreOf(id, index) {
  const mark = store.project?.marks[index];
  if (mark && isShown(id, index)) return { kind: "shown", score: mark.scores[id] };
  if (store.project?.absences.some(([o, a, b]) => o === id && a <= index && index <= b)) return { kind: "absent" };
  const byte = store.timeline.get(id)?.[index] ?? 0;
  if (byte === 0 || staleKind(id, index) === "cleared") return { kind: "none" };
  if (staleKind(id, index)) return { kind: "old" };
  return byte === 1 ? { kind: "lost" } : { kind: "found", score: (byte - 2) / 253 };
}
