// What a button does, and its key, while the pointer or the focus rests on it.
const tip = document.getElementById("tip");
let timer = 0;

function open(element) {
  tip.replaceChildren(element.dataset.tip ?? element.textContent);
  if (element.dataset.keys) tip.append(Object.assign(document.createElement("kbd"), { textContent: element.dataset.keys }));
  tip.hidden = false;
  const box = element.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const isInTools = element.closest(".tools"), gap = 8;
  const x = isInTools ? box.right + gap : Math.min(Math.max(box.left + box.width / 2 - size.width / 2, 6), innerWidth - size.width - 6);
  const below = box.bottom + gap + size.height < innerHeight;
  const y = isInTools ? box.top + box.height / 2 - size.height / 2 : below ? box.bottom + gap : box.top - gap - size.height;
  tip.style.left = `${Math.round(x)}px`;
  tip.style.top = `${Math.round(y)}px`;
}

function close() { clearTimeout(timer); tip.hidden = true; }

document.addEventListener("pointerover", (event) => {
  const element = event.target.closest?.("[data-tip]");
  close();
  if (element) timer = setTimeout(open, 450, element);
});
document.addEventListener("focusin", (event) => {
  if (event.target.matches?.("[data-tip]:focus-visible")) open(event.target);
});
document.addEventListener("focusout", close);
document.addEventListener("pointerdown", close, true);
document.addEventListener("keydown", close, true);
