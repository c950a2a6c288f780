// The socket to the server: edits go there, states come from there.
import { store, emit } from "./store.js";

let socket = null, retry = 500, waiting = [];

export function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/socket`);
  socket.onopen = () => {
    retry = 500;
    emit("linked", true);
    for (const text of waiting.splice(0)) socket.send(text);
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    emit("linked", false);
    setTimeout(connect, retry);
    retry = Math.min(retry * 2, 5000);
  };
}

export function send(message) {
  const text = JSON.stringify(message);
  if (socket?.readyState === WebSocket.OPEN) socket.send(text);
  else if (!["hover", "rest", "look"].includes(message.type) && waiting.length < 32) waiting.push(text);
}

function receive(message) {
  if (message.type === "state") {
    store.video = message.video;
    store.palette = message.palette;
    store.timeline = new Map(Object.entries(message.timeline).map(([id, text]) => [Number(id), bytes(text)]));
    store.doubts = message.doubts;
    takeStale(message.stale);
    store.export = message.export;
    takeProject(message);
    emit("video");
    emit("timeline");
    emit("project");
    emit("doubts");
  } else if (message.type === "project") {
    takeProject(message);
    emit("project");
  } else if (message.type === "stale") {
    takeStale(message.stale);
    emit("stale");
  } else if (message.type === "cleared") {
    store.timeline = new Map();
    takeStale({ changed: {}, cleared: {} });
    store.doubts = [];
    emit("timeline");
    emit("project");
  } else if (message.type === "progress") {
    store.run = message.run;
    for (const [index, objects] of message.frames) {
      for (const [id, byte] of objects) setByte(id, index, byte);
    }
    for (const [index] of message.frames) store.fresh.add(index);
    emit("timeline", message.frames.map(([index]) => index));
    emit("run");
  } else {
    emit(message.type, message);
  }
}

function takeStale(stale) {
  store.stale = stale;
  store.fresh = new Set();
}

function takeProject(message) {
  store.project = message.project;
  store.undo = message.undo;
  store.redo = message.redo;
  store.status = message.status;
  store.run = message.run;
  store.isComplete = message.is_complete;
  store.isUpToDate = message.is_up_to_date;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function setByte(id, index, byte) {
  let row = store.timeline.get(id);
  if (!row || row.length <= index) {
    const longer = new Uint8Array(Math.max(index + 1, 2 * (row?.length ?? 0), 256));
    if (row) longer.set(row);
    store.timeline.set(id, (row = longer));
  }
  row[index] = byte;
}
