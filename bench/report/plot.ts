import { escape } from './html.js';

/** A row of a plot: a mark for pageflash and for each peer. */
export interface PlotRow {
  /** Consecutive rows of one group get its name once. */
  readonly group: string;
  readonly label: string;
  readonly marks: readonly Mark[];
  /** Shown beside the marks, or in place of missing ones. */
  readonly note?: string | undefined;
}

export interface Mark {
  /** A class of the style sheet: `pageflash` or the name of a peer. */
  readonly series: string;
  readonly value: number;
  /** Quartiles. */
  readonly spread?: readonly [number, number] | undefined;
}

export interface PlotArgs {
  /** The text for screen readers. */
  readonly title: string;
  /** Label of the axis: the quantity and its unit. */
  readonly axis: string;
  readonly rows: readonly PlotRow[];
  readonly scale: (args: ScaleArgs) => Scale;
  readonly format: (value: number) => string;
  readonly formatTick: (value: number) => string;
  /** `bars` start at 0; the `dots` of a row are joined by a line, which suits a logarithmic scale. */
  readonly kind: 'bars' | 'dots';
  /** A value to mark by a dashed line. */
  readonly reference?: number | undefined;
}

const WIDTH = 880;
const GROUP_X = 0;
const LABEL_X = 188;
/** The x range of the scale. Labels of values may lie beyond it. */
const PLOT_X: readonly [number, number] = [250, 790];
const ROW_HEIGHT = 24;
const GROUP_GAP = 12;
const TOP = 28;
const BOTTOM = 40;

/** A horizontal plot, one row per line, as SVG. */
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
    // Labels are placed outside of the marks, so that they cannot overlap.
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

/** A coordinate, rounded to a tenth of a pixel. */
export function px(x: number): string {
  return String(Math.round(x * 10) / 10);
}

/** A map from values to pixels, with the values that get a tick. */
export interface Scale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

export interface ScaleArgs {
  /** Values that the scale must include. */
  readonly values: readonly number[];
  /** The first and the last pixel. */
  readonly range: readonly [number, number];
}

const MOST_TICKS = 9;

/**
 * A logarithmic scale from tick to tick.
 *
 * @param choices ticks to choose from, finest first; the finest that is not too dense is taken
 */
export function logScale({ values, range }: ScaleArgs, choices: readonly LogTicks[]): Scale {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const lists = choices.map((choice) => ticksAround(least, most, choice));
  const ticks = lists.find(({ length }) => length <= MOST_TICKS) ?? lists.at(-1)!;
  const [low, high] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  return { at: between(range, (value) => (Math.log(value) - low) / (high - low)), ticks };
}

/** Ticks at `digit · base ** n` for every digit and every integer n. */
export interface LogTicks {
  readonly base: number;
  /** Ascending, 1 ≤ digit < base. */
  readonly digits: readonly number[];
}

function ticksAround(least: number, most: number, { base, digits }: LogTicks): number[] {
  const power = (value: number) => Math.floor(Math.log(value) / Math.log(base));
  // One power more at the end, since rounding may make the logarithm of a power of the base too small.
  const powers = Array.from({ length: power(most) - power(least) + 4 }, (_, i) => power(least) - 1 + i);
  const all = powers.flatMap((exponent) => digits.map((digit) => digit * base ** exponent));
  // From the last tick at or below the least value to the first above the greatest: at least two ticks.
  const start = all.findLastIndex((tick) => tick <= least);
  const end = all.findIndex((tick) => tick > most);
  return all.slice(start, end + 1);
}

/** A linear scale from 0, with ticks at multiples of 1, 2 or 5 times a power of ten. */
export function linearScale({ values, range }: ScaleArgs): Scale {
  const most = Math.max(...values);
  const step = [1, 2, 5]
    .flatMap((digit) => [-2, -1, 0, 1, 2, 3].map((power) => digit * 10 ** power))
    .toSorted((a, b) => a - b)
    .find((candidate) => most / candidate < MOST_TICKS)!;
  const nTicks = Math.ceil(most / step) + 1;
  const ticks = Array.from({ length: nTicks }, (_, i) => i * step);
  return { at: between(range, (value) => value / ticks.at(-1)!), ticks };
}

function between([start, end]: readonly [number, number], share: (value: number) => number) {
  return (value: number) => start + (end - start) * share(value);
}
