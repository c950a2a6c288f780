// The frames worth a look, worst first: go to the next one, accept it or fix it.
import { store, on, colour, nameOf } from "./store.js";
import { send } from "./link.js";
import { show } from "./pictures.js";

const $ = (id) => document.getElementById(id);
let at = null;   // the doubt that is shown

function covers([object, first, last], doubt) {
  return object === doubt.object && first <= doubt.frame && doubt.frame <= last;
}

// Those that are neither accepted nor fixed meanwhile.
export function openDoubts() {
  const { project } = store;
  return store.doubts.filter((doubt) => {
    const marks = project.marks[doubt.frame];
    const isFixed = marks && (marks.hints[doubt.object] || marks.painted.includes(doubt.object));
    return project.names[doubt.object] && !isFixed && ![...project.accepted, ...project.absences].some((each) => covers(each, doubt));
  });
}

function go(doubt) {
  at = doubt;
  store.isPlaying = store.isFollowing = false;
  document.dispatchEvent(new CustomEvent("scrub"));
  document.dispatchEvent(new CustomEvent("select-object", { detail: doubt.object }));
  show(doubt.frame);
  render();
}

function render() {
  if (!store.project) return;
  const doubts = openDoubts();
  $("review").hidden = !store.doubts.length;
  $("review-count").textContent = doubts.length ? `${doubts.length}` : "all done";
  $("next-doubt").disabled = !doubts.length;
  $("accept-doubt").disabled = !here(doubts);
  $("review-list").replaceChildren(...doubts.map((doubt) => {
    const element = document.createElement("li");
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = colour(doubt.object);
    const why = Object.assign(document.createElement("span"), { className: "why", textContent: doubt.reason, title: `${nameOf(doubt.object)}: ${doubt.reason}` });
    const where = Object.assign(document.createElement("span"), { className: "at", textContent: doubt.frame });
    element.append(swatch, why, where);
    element.classList.toggle("here", doubt === here(doubts));
    element.onclick = () => go(doubt);
    return element;
  }));
}

function here(doubts) {
  return doubts.find((each) => at && each.object === at.object && each.frame === at.frame && each.frame === store.frame);
}

$("next-doubt").onclick = () => {
  const doubts = openDoubts(), now = doubts.indexOf(here(doubts));
  if (doubts.length) go(doubts[(now + 1) % doubts.length]);
};
$("accept-doubt").onclick = () => {
  const doubts = openDoubts(), doubt = here(doubts);
  if (!doubt) return;
  const next = doubts[doubts.indexOf(doubt) + 1] ?? doubts[0];
  send({ type: "accept", object: doubt.object, first: doubt.first, last: doubt.last });
  if (next !== doubt) go(next);
};

on("doubts", (message) => {
  if (message?.doubts) store.doubts = message.doubts;
  render();
});
on("project frame", render);
