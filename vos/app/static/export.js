// The export panel. What was chosen last is remembered beside the results.
import { store } from "./store.js";
import { send } from "./link.js";
import { openDialog } from "./dialogs.js";

const FORMATS = [
  ["For editors", [
    ["prores", "ProRes 4444", ".mov with alpha"], ["vp9", "WebM", "VP9 with alpha"], ["ffv1", "FFV1", "lossless .mkv, alpha"],
    ["rgba", "RGBA", "PNG sequence, alpha"], ["matte", "Matte", "PNG sequence"], ["matte-mp4", "Matte video", ".mp4, white on black"],
    ["exr", "OpenEXR", "a layer per object"],
  ]],
  ["For web and print", [
    ["gif", "GIF", "small, everywhere"], ["webp", "WebP", "animation, alpha"], ["apng", "APNG", "animation, alpha"],
    ["cutout", "Cut-outs", "a picture per object"], ["sheet", "Contact sheet", "one picture"],
  ]],
  ["For training and annotation", [
    ["coco", "COCO", "instances"], ["youtube-vis", "YouTube-VIS", "tracks"], ["yolo", "YOLO", "segments"],
    ["sav", "SA-V", "PNG per object"], ["npz", "NumPy", "one .npz"], ["cvat", "CVAT", "images 1.1"],
    ["label-studio", "Label Studio", "tasks"], ["timeline", "Time line", "times of each object"],
  ]],
];
const body = document.getElementById("export-body"), button = document.getElementById("show-export");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function build() {
  const chosen = store.export ?? { formats: ["prores"] }, form = make("form");
  for (const [heading, formats] of FORMATS) {
    const group = make("div", { className: "formats" });
    for (const [name, label, detail] of formats) {
      const input = make("input", { type: "checkbox", name: "formats", value: name, checked: chosen.formats.includes(name) });
      group.append(make("label", {}, input, make("b", { textContent: label }), make("span", { textContent: detail })));
    }
    form.append(make("h3", { textContent: heading }), group);
  }
  const number = (name, label, properties) => make("label", { className: "field" }, make("span", { textContent: label }), make("input", { type: "number", name, value: chosen[name] ?? 0, ...properties }));
  const check = (name, label) => make("label", { className: "check" }, make("input", { type: "checkbox", name, checked: chosen[name] ?? false }), make("span", { textContent: label }));
  form.append(make("h3", { textContent: "Masks" }), make("div", { className: "options" },
    check("per_object", "A file for each object"), check("soft", "Soft edges"),
    number("grow_px", "Grow, px", { step: 0.5, min: -64, max: 64 }), number("min_area_px", "Drop specks under, px", { step: 1, min: 0 })));
  const cancel = make("button", { type: "button", className: "quiet", textContent: "Cancel" });
  cancel.dataset.close = "";
  const submit = make("button", { type: "submit", className: "primary", textContent: "Export" });
  form.append(make("div", { className: "row end" }, cancel, submit));
  const check_ = () => { submit.disabled = !form.querySelector("[name=formats]:checked"); };
  form.onchange = check_;
  check_();
  form.onsubmit = (event) => {
    event.preventDefault();
    const choices = {
      formats: [...form.querySelectorAll("[name=formats]:checked")].map((each) => each.value),
      per_object: form.elements.per_object.checked,
      soft: form.elements.soft.checked,
      grow_px: Number(form.elements.grow_px.value),
      min_area_px: Math.round(Number(form.elements.min_area_px.value)),
    };
    store.export = choices;
    send({ type: "export", ...choices });
    document.getElementById("export-dialog").close();
  };
  body.replaceChildren(make("p", { className: "muted", textContent: `Into the folder exports beside the results of ${store.video.name}.` }), form);
}

button.onclick = () => {
  if (button.disabled) return;
  build();
  openDialog("export-dialog");
};
