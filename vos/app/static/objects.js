// The list of objects.
import { store, on, emit, colour, nameOf, objectIds, scoreOf } from "./store.js";
import { send } from "./link.js";
import { chooseColour } from "./colours.js";

const $ = (id) => document.getElementById(id);
const DOUBTFUL = 0.5;
let known = new Set(), renaming = 0;

export function selectObject(id) {
  if (!id || id === store.object) return;
  store.object = id;
  emit("object");
}

export function renameObject(id) {
  if (!objectIds().includes(id)) return;
  renaming = id;
  render();
  const input = $("objects").querySelector("input");
  input.focus();
  input.select();
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  svg.firstChild.setAttribute("href", `#i-${name}`);
  return svg;
}

function button(name, tip, action) {
  const element = document.createElement("button");
  element.className = "icon small";
  element.append(icon(name));
  element.dataset.tip = tip;
  element.setAttribute("aria-label", tip);
  element.onclick = (event) => { event.stopPropagation(); action(); };
  return element;
}

function render() {
  if (renaming && $("objects").querySelector("input")) return;  // a name is being typed
  const ids = objectIds();
  $("object-actions").hidden = !ids.includes(store.object);
  $("objects").replaceChildren(...ids.map(item));
  update();
}

function item(id) {
  const element = document.createElement("li");
  element.dataset.object = id;
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", id === store.object);
  element.tabIndex = 0;
  const swatch = Object.assign(document.createElement("button"), { className: "swatch" });
  swatch.style.background = colour(id);
  swatch.dataset.tip = "Colour";
  swatch.dataset.keys = "Shift C";
  swatch.setAttribute("aria-label", "Colour");
  swatch.onclick = (event) => { event.stopPropagation(); selectObject(id); chooseColour(id, $("objects").querySelector(`[data-object="${id}"] .swatch`)); };
  let name = Object.assign(document.createElement("span"), { className: "name", textContent: nameOf(id) });
  if (renaming === id) name = nameInput(id);
  const score = Object.assign(document.createElement("span"), { className: "score" });
  const isHidden = store.hidden.has(id);
  const see = button(isHidden ? "eye-off" : "eye", isHidden ? "Show" : "Hide", () => {
    store.hidden.has(id) ? store.hidden.delete(id) : store.hidden.add(id);
    emit("view");
    render();
  });
  see.classList.add("see");
  element.classList.toggle("off", isHidden);
  element.classList.toggle("renaming", renaming === id);
  element.append(swatch, name, score, see, button("trash", "Remove", () => send({ type: "remove_object", object: id })));
  element.onclick = () => selectObject(id);
  element.ondblclick = () => renameObject(id);
  element.onkeydown = (event) => {
    if (event.target !== element) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); selectObject(id); }
  };
  return element;
}

function nameInput(id) {
  const input = document.createElement("input");
  input.value = nameOf(id);
  input.maxLength = 80;
  input.setAttribute("aria-label", "Name");
  const end = (isKept) => {
    if (renaming !== id) return;
    renaming = 0;
    if (isKept && input.value.trim() && input.value !== nameOf(id)) send({ type: "name", object: id, name: input.value });
    else render();
  };
  input.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") end(false);
  };
  input.onblur = () => end(true);
  input.onclick = (event) => event.stopPropagation();
  return input;
}

function update() {
  for (const element of $("objects").children) {
    const { kind, score } = scoreOf(Number(element.dataset.object), store.frame);
    const text = { shown: score === undefined ? "painted" : score.toFixed(2), absent: "absent", lost: "lost", none: "", old: "old", found: score?.toFixed(2) }[kind];
    const cell = element.querySelector(".score");
    cell.textContent = text;
    cell.classList.toggle("doubtful", kind === "lost" || (score ?? 1) < DOUBTFUL);
  }
  const isAbsent = scoreOf(store.object, store.frame).kind === "absent";
  $("absent").querySelector("span").textContent = isAbsent ? "Not absent" : "Absent here";
  const range = store.project?.tracked;
  $("absent-in-range-row").hidden = !range;
  if (range) $("absent-in-range").querySelector("span").textContent = `Absent in ${range[0]} – ${range[1]}`;
  const marks = store.project?.marks[store.frame];
  $("clear").disabled = !(marks?.hints[store.object] || marks?.painted.includes(store.object));
}

export function colourObject(id) {
  $("objects").querySelector(`[data-object="${id}"] .swatch`)?.click();
}

function sayAbsent(first, last) {
  send({ type: "absent", object: store.object, first, last, is_absent: true });
}

$("add-object").onclick = () => send({ type: "add_object" });
document.addEventListener("select-object", (event) => selectObject(event.detail));
$("absent").onclick = () => {
  if (!objectIds().includes(store.object)) return;
  const inFrame = store.project.absences.find(([id, a, b]) => id === store.object && a <= store.frame && store.frame <= b);
  if (inFrame) send({ type: "absent", object: store.object, first: inFrame[1], last: inFrame[2], is_absent: false });
  else sayAbsent(store.frame, store.frame);
};
$("absent-in-range").onclick = () => {
  if (objectIds().includes(store.object) && store.project.tracked) sayAbsent(...store.project.tracked);
};
$("clear").onclick = () => {
  if (!$("clear").disabled) send({ type: "clear", frame: store.frame, object: store.object });
};

on("project", () => {
  const ids = objectIds(), added = ids.filter((id) => !known.has(id));
  if (known.size && added.length === 1) { store.object = added[0]; emit("object"); }
  else if (ids.length && !ids.includes(store.object)) { store.object = ids[0]; emit("object"); }
  known = new Set(ids);
  render();
});
on("object", render);
on("frame timeline stale", update);
