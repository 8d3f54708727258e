import { escape } from './escape.js';
import type { Scale, ScaleArgs } from './scale.js';

/** A line of a plot: a value with its spread for each contender. */
export interface PlotRow {
  /** Rows with the same group stand together under its name. */
  readonly group: string;
  readonly label: string;
  readonly marks: readonly Mark[];
  /** Said where a mark is missing. */
  readonly note?: string | undefined;
}

export interface Mark {
  /** A class of the style sheet: `pageflash` or the name of a rival. */
  readonly series: string;
  readonly value: number;
  /** Quartiles, where there are any. */
  readonly spread?: readonly [number, number] | undefined;
}

export interface PlotArgs {
  /** What a screen reader says. */
  readonly title: string;
  /** What the axis measures, with its unit. */
  readonly axis: string;
  readonly rows: readonly PlotRow[];
  readonly scale: (args: ScaleArgs) => Scale;
  readonly format: (value: number) => string;
  readonly formatTick: (value: number) => string;
  /** `bars` start at 0; `dots` of a row are joined, and suit a logarithmic scale. */
  readonly kind: 'bars' | 'dots';
  /** A value to compare with. */
  readonly reference?: number | undefined;
}

const WIDTH = 880;
const GROUP_X = 0;
const LABEL_X = 188;
/** Between these lie the values; beyond them is room for their labels. */
const PLOT_X: readonly [number, number] = [250, 790];
const ROW_HEIGHT = 24;
const GROUP_GAP = 12;
const TOP = 28;
const BOTTOM = 40;

/** A plot with a line for each row, as SVG. */
export function plot(args: PlotArgs): string {
  const { title, axis, rows, formatTick, reference } = args;
  const placed = place(rows);
  const end = (placed.at(-1)?.y ?? 0) + ROW_HEIGHT / 2 + 4;
  const values = rows.flatMap(({ marks }) => marks.flatMap(({ value, spread = [] }) => [value, ...spread]));
  if (reference !== undefined) values.push(reference);
  const scale = args.scale({ values, range: PLOT_X });
  const grid = scale.ticks.map((tick) => {
    const x = px(scale.at(tick));
    const line = `<line class="grid" x1="${x}" x2="${x}" y1="${TOP - 10}" y2="${px(end)}" />`;
    return `${line}<text class="tick" x="${x}" y="${px(end + 15)}" text-anchor="middle">${escape(formatTick(tick))}</text>`;
  });
  const middle = (PLOT_X[0] + PLOT_X[1]) / 2;
  return [
    `<svg viewBox="0 0 ${WIDTH} ${px(end + BOTTOM)}" role="img" aria-label="${escape(title)}">`,
    ...grid,
    reference === undefined
      ? ''
      : `<line class="reference" x1="${px(scale.at(reference))}" x2="${px(scale.at(reference))}" y1="${TOP - 10}" y2="${px(end)}" />`,
    ...placed.map((row) => drawRow(row, scale, args)),
    `<text class="axis" x="${px(middle)}" y="${px(end + 34)}" text-anchor="middle">${escape(axis)}</text>`,
    '</svg>',
  ].join('\n');
}

interface PlacedRow extends PlotRow {
  readonly y: number;
  readonly startsGroup: boolean;
}

function place(rows: readonly PlotRow[]): PlacedRow[] {
  let y = TOP - ROW_HEIGHT / 2;
  return rows.map((row, i) => {
    const startsGroup = row.group !== rows[i - 1]?.group;
    y += ROW_HEIGHT / (i === 0 ? 2 : 1) + (startsGroup && i > 0 ? GROUP_GAP : 0);
    return { ...row, y, startsGroup };
  });
}

function drawRow(row: PlacedRow, scale: Scale, { kind, format }: PlotArgs): string {
  const { y, group, label, marks, note, startsGroup } = row;
  const sorted = marks.toSorted((a, b) => a.value - b.value);
  const [least, most] = [sorted[0], sorted.at(-1)];
  const parts = [
    startsGroup ? `<text class="group" x="${GROUP_X}" y="${px(y + 4)}">${escape(group)}</text>` : '',
    `<text class="label" x="${LABEL_X}" y="${px(y + 4)}" text-anchor="end">${escape(label)}</text>`,
  ];
  if (kind === 'dots' && least && most && least !== most) {
    parts.push(
      `<line class="join" x1="${px(scale.at(least.value))}" x2="${px(scale.at(most.value))}" y1="${px(y)}" y2="${px(y)}" />`,
    );
  }
  for (const mark of sorted) {
    const x = scale.at(mark.value);
    const tooltip = `<title>${escape(`${group}, ${label}: ${mark.series} ${tooltipOf(mark, format)}`)}</title>`;
    const start = scale.at(0);
    parts.push(
      kind === 'bars'
        ? `<rect class="${mark.series}" x="${px(start)}" y="${px(y - 7)}" width="${px(x - start)}" height="14" rx="2">${tooltip}</rect>`
        : `<circle class="${mark.series}" cx="${px(x)}" cy="${px(y)}" r="5.5">${tooltip}</circle>`,
      kind === 'bars' ? whisker(mark, scale, y) : '',
    );
  }
  if (least && most) {
    // Labels stand outside of the marks, so they cannot meet.
    if (least !== most) {
      parts.push(
        `<text class="value" x="${px(scale.at(least.value) - 11)}" y="${px(y + 4)}" text-anchor="end">${escape(format(least.value))}</text>`,
      );
    }
    const right = Math.max(scale.at(most.value), kind === 'bars' ? scale.at(most.spread?.[1] ?? 0) : 0);
    const text = note ? `${format(most.value)}  (${note})` : format(most.value);
    parts.push(`<text class="value" x="${px(right + 11)}" y="${px(y + 4)}">${escape(text)}</text>`);
  } else if (note) {
    parts.push(`<text class="note" x="${PLOT_X[0] + 8}" y="${px(y + 4)}">${escape(note)}</text>`);
  }
  return parts.join('');
}

function whisker({ spread }: Mark, scale: Scale, y: number): string {
  if (!spread) return '';
  const [low, high] = spread.map((value) => px(scale.at(value))) as [string, string];
  const cap = (x: string) => `M${x} ${px(y - 4)}V${px(y + 4)}`;
  return `<path class="whisker" d="${cap(low)}M${low} ${px(y)}H${high}${cap(high)}" />`;
}

function tooltipOf({ value, spread }: Mark, format: PlotArgs['format']): string {
  return spread ? `${format(value)}, quartiles ${format(spread[0])} and ${format(spread[1])}` : format(value);
}

/** No more digits than can be seen. */
function px(x: number): string {
  return String(Math.round(x * 10) / 10);
}
