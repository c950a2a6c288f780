// Frames and label maps as they are needed; a few of each are kept.
import { store, on, emit, numFrames } from "./store.js";

const MAX_FRAMES = 20, MAX_LABELS = 24, MAX_DROPPED = 4, AHEAD = 3;
const frames = new Map(), labels = new Map(), dropped = [];
let shown = -1, isLoading = false, isStale = true, epoch = 0;

async function get(address) {
  const response = await fetch(address, { credentials: "same-origin" });
  if (!response.ok) throw new Error(await response.text());
  return response;
}

function remember(cache, index, value, most, drop) {
  cache.delete(index);
  cache.set(index, value);
  for (const oldest of cache.keys()) {
    if (cache.size <= most) break;
    if (oldest === shown) continue;
    const dropped = cache.get(oldest);
    cache.delete(oldest);
    drop?.(dropped);
  }
}

// A bitmap may still be awaited by who is to show it; the others free their memory at once.
function closeLater(bitmap) {
  dropped.push(bitmap);
  if (dropped.length > MAX_DROPPED) dropped.shift().then((oldest) => oldest.close(), () => {});
}

async function frameOf(index) {
  const known = frames.get(index);
  if (known) return remember(frames, index, known, MAX_FRAMES), known;
  const promise = get(`/frame/${index}.jpg`).then((response) => response.blob()).then((blob) => createImageBitmap(blob));
  remember(frames, index, promise, MAX_FRAMES, closeLater);
  promise.catch(() => frames.delete(index));
  return promise;
}

async function labelsOf(index) {
  const known = labels.get(index);
  if (known) return remember(labels, index, known, MAX_LABELS), known;
  const promise = get(`/labels/${index}`).then((response) => response.arrayBuffer()).then((buffer) => new Uint8Array(buffer));
  remember(labels, index, promise, MAX_LABELS);
  promise.catch(() => labels.delete(index));
  return promise;
}

// Goes to a frame: what is asked for meanwhile is passed over, only the last one counts.
export function show(index) {
  index = Math.max(0, Math.min(numFrames() - 1, Math.round(index)));
  if (index !== store.frame) {
    store.frame = index;
    emit("frame");
  }
  load();
}

async function load() {
  if (isLoading || !store.video) return;
  isLoading = true;
  try {
    while (shown !== store.frame || isStale) {
      const index = store.frame, began = epoch;
      isStale = false;
      const [bitmap, map] = await Promise.all([frameOf(index), labelsOf(index)]);
      if (began !== epoch) { isStale = true; continue; }
      shown = index;
      emit("picture", { index, bitmap, labels: map });
      if (store.isPlaying) for (let n = 1; n <= AHEAD; n++) if (index + n < numFrames()) ahead(index + n);
    }
  } catch (error) {
    shown = store.frame;
    emit("notice", { kind: "error", text: error.message });
  } finally {
    isLoading = false;
  }
}

function ahead(index) {
  frameOf(index).catch(() => {});
  labelsOf(index).catch(() => {});
}

on("project video", () => {
  labels.clear();
  epoch++;
  isStale = true;
  load();
});
on("timeline", (indices) => {
  if (!indices) return;
  for (const index of indices) labels.delete(index);
  if (indices.includes(store.frame)) { epoch++; isStale = true; load(); }
});
