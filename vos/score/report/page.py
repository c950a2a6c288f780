"""How the report looks: its style sheet and its script."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light; --ink: #1d2430; --soft: #5b6472; --line: #dfe3e8; --back: #f6f7f9;
  --j: #1a5fb4; --f: #c64600; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 24px; font-weight: 600; margin: 0 0 20px; overflow-wrap: anywhere; }
h2 { font-size: 19px; font-weight: 600; margin: 0 0 12px; overflow-wrap: anywhere; }
h3 { font-size: 14px; font-weight: 600; margin: 20px 0 8px; color: var(--soft); }
a { color: inherit; text-decoration-color: #aab2bd; text-underline-offset: 3px; }
section { border-top: 1px solid var(--line); margin-top: 36px; padding-top: 24px; }
i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 8px;
  margin: 0 0 20px; }
.tiles div { background: var(--back); border-radius: 6px; padding: 10px 14px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 24px; font-variant-numeric: tabular-nums; }
.tiles div:first-child dd { font-weight: 700; }
.remarks { background: #fff6e0; border-left: 4px solid #e0a100; margin: 0 0 20px;
  padding: 10px 14px 10px 32px; overflow-wrap: anywhere; }
details { margin: 0 0 24px; color: var(--soft); }
summary { cursor: pointer; }
.settings { display: grid; grid-template-columns: max-content 1fr; gap: 2px 20px; margin: 10px 0; }
.settings dt { color: var(--soft); }
.settings dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; font-weight: 400; }
th.name { text-align: left; padding-left: 0; position: sticky; left: 0; background: #fff; }
thead th { border-bottom: 2px solid var(--ink); }
thead button { font: inherit; font-weight: 600; border: 0; padding: 0; background: none;
  color: inherit; cursor: pointer; }
thead button:hover { text-decoration: underline; }
tbody { border-bottom: 1px solid var(--line); }
tfoot th, tfoot td { font-weight: 700; border-top: 2px solid var(--ink); }
.object th, .object td { color: var(--soft); font-size: 14px; padding-top: 1px; }
.object th.name { padding-left: 18px; }
.plots { display: grid; gap: 16px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 390px), 1fr)); }
figure { margin: 0; }
figcaption { font-variant-numeric: tabular-nums; font-size: 14px; }
figcaption span { margin-left: 12px; font-weight: 600; }
figcaption .j { color: var(--j); } figcaption .f { color: var(--f); }
.plot { width: 100%; height: auto; display: block; }
.plot text { font-size: 12px; fill: var(--soft); }
.plot polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.plot polyline.j { stroke: var(--j); } .plot polyline.f { stroke: var(--f); }
.plot circle.j { fill: var(--j); } .plot circle.f { fill: var(--f); }
.grid { stroke: var(--line); } .mark { stroke: #a6aeb9; stroke-dasharray: 2 3; }
.frames { display: grid; grid-template-columns: max-content repeat(3, minmax(0, 400px));
  gap: 6px 8px; font-size: 13px; font-variant-numeric: tabular-nums; }
.frames.masks { grid-template-columns: max-content repeat(2, minmax(0, 400px)); }
.frames > span { color: var(--soft); }
.frames > div span { display: block; color: var(--soft); white-space: nowrap; }
.frames > div { padding-right: 8px; }
.frames svg { width: 100%; height: auto; display: block; background: #20242b; border-radius: 3px; }
.frames text { fill: #aab2bd; text-anchor: middle; font-size: 16px; }
@media (max-width: 720px) {
  main { padding: 18px 14px 40px; }
  .frames { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 4px; }
  .frames.masks { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .frames > span:first-child { display: none; }
  .frames > div { grid-column: 1 / -1; padding-top: 8px; }
  .frames > div span { display: inline-block; margin-left: 12px; }
}
"""

SCRIPT: Final = """
const table = document.querySelector("table"), head = [...table.tHead.rows[0].cells];
head.forEach((cell, column) => cell.onclick = () => {
  const down = cell.dataset.down = cell.dataset.down === "1" ? "0" : "1";
  const text = body => body.rows[0].cells[column].textContent;
  [...table.tBodies].sort((a, b) => (down === "1" ? 1 : -1) * (column
    ? text(a) - text(b) : text(a).localeCompare(text(b)))).forEach(body => table.append(body));
});
"""
