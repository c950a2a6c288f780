// Short messages over the picture.
const SECONDS = 6;

export function notice(text, kind = "info") {
  const all = document.getElementById("notices");
  const element = Object.assign(document.createElement("div"), { className: `notice ${kind}`, textContent: kind === "error" ? text.charAt(0).toUpperCase() + text.slice(1) : text });
  all.append(element);
  while (all.children.length > 3) all.firstChild.remove();
  setTimeout(() => element.remove(), SECONDS * 1000);
}
