// The colour of an object: one of the palette, which any kind of colour vision tells apart, or any other.
import { store, nameOf, rgbOf, objectIds } from "./store.js";
import { send } from "./link.js";

const panel = document.getElementById("colours"), COLUMNS = 7, NUM_COLOURS = 21;

const hex = (rgb) => `#${rgb.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
const isSame = (one, other) => one.every((value, n) => value === other[n]);

export function chooseColour(id, anchor) {
  if (!objectIds().includes(id)) return;
  const choose = (rgb) => {
    panel.hidePopover();
    send({ type: "colour", object: id, rgb: isSame(rgb, store.palette[id]) ? null : rgb });
  };
  const grid = document.createElement("div");
  grid.className = "grid";
  const now = rgbOf(id);
  for (const rgb of store.palette.slice(1, NUM_COLOURS + 1)) {
    const button = document.createElement("button");
    button.style.background = hex(rgb);
    button.setAttribute("aria-label", hex(rgb));
    button.setAttribute("aria-pressed", isSame(rgb, now));
    button.onclick = () => choose(rgb);
    grid.append(button);
  }
  const other = Object.assign(document.createElement("input"), { type: "color", value: hex(now) });
  other.onchange = () => choose([1, 3, 5].map((at) => parseInt(other.value.slice(at, at + 2), 16)));
  const label = document.createElement("label");
  label.append("Another colour", other);
  const heading = Object.assign(document.createElement("h2"), { textContent: `Colour of ${nameOf(id)}` });
  panel.replaceChildren(heading, grid, label);
  panel.showPopover();
  const box = anchor.getBoundingClientRect(), size = panel.getBoundingClientRect();
  panel.style.left = `${Math.round(Math.max(8, Math.min(box.left, innerWidth - size.width - 12)))}px`;
  panel.style.top = `${Math.round(Math.min(box.bottom + 6, innerHeight - size.height - 8))}px`;
  (grid.querySelector("[aria-pressed=true]") ?? grid.firstChild).focus();
}

panel.addEventListener("keydown", (event) => {
  event.stopPropagation();
  const buttons = [...panel.querySelectorAll(".grid button")], at = buttons.indexOf(document.activeElement);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS }[event.key];
  if (at < 0 || !step) return;
  event.preventDefault();
  buttons[at + step]?.focus();
});
