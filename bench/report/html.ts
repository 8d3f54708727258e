import { formatWideSpread } from '../../tools/format.js';
import type { Summary } from '../../tools/statistics.js';

/** Text escaped for HTML, attribute values included. */
export function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** The median, with the quartiles in small print below it, and a warning if they are far apart. */
export function spread(summary: Summary, format: (value: number) => string): string {
  const { median, q1, q3 } = summary;
  const wide = formatWideSpread(summary);
  const warning = wide && `<small class="wide">${wide}</small>`;
  return `${format(median)}<small>${format(q1)} – ${format(q3)}</small>${warning}`;
}

/** `<td>` elements; the contents are HTML. */
export function cells(contents: readonly string[]): string {
  return contents.map((content) => `<td>${content}</td>`).join('');
}

/** `<th>` elements; the titles are HTML. */
export function headCells(titles: readonly string[]): string {
  return titles.map((title) => `<th>${title}</th>`).join('');
}

/** The style sheet of the report, for light and dark displays and for paper. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #fff; --text: #1d1f23; --soft: #5c6370; --line: #e3e4e8; --join: #c4c7ce;
  --pageflash: #2468c4; --naive: #d0601c; --prefill: #7a4fb5; --bad: #b3261e; --warn: #8a5a00;
  --onnx: #16846f; --onnx-other: #8aa39d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131518; --card: #1b1e23; --text: #e6e7ea; --soft: #9aa1ad; --line: #2d3138; --join: #4a505b;
    --pageflash: #6ba6f5; --naive: #f0935a; --prefill: #b99af0; --bad: #ff8a80; --warn: #e0b25c;
    --onnx: #4cc3a8; --onnx-other: #5f7d76;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 32px 20px 64px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 20px 0 2px; }
p { margin: 0 0 12px; max-width: 90ch; }
.subtitle { max-width: none; }
.soft, .facts dt { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin-top: 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px; margin-top: 20px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.3; font-weight: 650; }
.tile span { color: var(--soft); font-size: 13.5px; display: block; line-height: 1.4; }
.legend { display: flex; gap: 18px; font-size: 13.5px; margin: 0 0 4px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 6px; }
.legend .pageflash { background: var(--pageflash); }
.legend .naive { background: var(--naive); }
.legend .T1 { background: var(--prefill); }
.legend .attn_prefill { background: var(--prefill); }
.legend .plain { background: var(--prefill); }
.legend .onnx { background: var(--onnx); }
.legend .onnx_other { background: var(--onnx-other); }
.legend .wrong { background: none; border: 2px solid var(--bad); }
.legend .line { width: 22px; height: 0; border-radius: 0; border-top: 2px dashed var(--soft); vertical-align: middle; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 8px 28px; }
.pair h3 { font-size: 14px; font-weight: 600; margin: 8px 0 0; }
.pair svg { min-width: 0; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 780px; max-width: 980px; height: auto; font: 12.5px system-ui, sans-serif; fill: var(--text); }
svg .pageflash { fill: var(--pageflash); }
svg .naive { fill: var(--naive); }
svg .T1 { fill: var(--prefill); }
svg .attn_prefill { fill: var(--prefill); }
svg .plain { fill: var(--prefill); }
svg .onnx { fill: var(--onnx); }
svg .onnx_other { fill: var(--onnx-other); }
svg .wrong { fill: var(--card); stroke: var(--bad); stroke-width: 2; }
svg .path { fill: none; stroke: var(--pageflash); stroke-width: 2; }
svg .dashed { fill: none; stroke: var(--soft); stroke-width: 1.6; stroke-dasharray: 6 4; }
svg .grid { stroke: var(--line); }
svg .reference { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .join { stroke: var(--join); stroke-width: 2; }
svg .whisker { stroke: var(--text); stroke-width: 1.2; fill: none; }
svg .group { font-weight: 600; }
svg .tick, svg .axis, svg .label, svg .note { fill: var(--soft); }
svg .value { font-variant-numeric: tabular-nums; font-size: 12px; stroke: var(--card); stroke-width: 4px; paint-order: stroke; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
table.even { table-layout: fixed; margin-top: 18px; }
th, td { padding: 5px 5px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
td:first-child, th.shape { text-align: left; padding-left: 0; }
th.implementation { text-align: center; }
td small { color: var(--soft); display: block; font-size: 12px; }
td.left { text-align: left; white-space: normal; }
td small.text { white-space: normal; min-width: 24ch; }
td small.wide { color: var(--warn); }
.bad { color: var(--bad); }
.failed { color: var(--bad); text-align: left; white-space: normal; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 8px 0 0; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13px ui-monospace, monospace; }
@media print { section, .tile { break-inside: avoid; } }
`;
