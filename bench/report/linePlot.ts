import { escape } from './html.js';
import { logScale, px, type LogTicks, type Scale } from './plot.js';

/** A point of the curve, and the one of the dashed line that it is compared with. */
export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  readonly dashed?: number | undefined;
}

export interface LinePlotArgs {
  /** The text for screen readers. */
  readonly title: string;
  readonly xAxis: string;
  readonly yAxis: string;
  /** Ascending by x, at least one. */
  readonly points: readonly CurvePoint[];
  readonly xTicks: readonly LogTicks[];
  readonly yTicks: readonly LogTicks[];
  readonly formatX: (x: number) => string;
  readonly formatY: (y: number) => string;
}

const WIDTH = 528;
const HEIGHT = 330;
const X_RANGE = [78, 500] as const;
/** From the bottom up. */
const Y_RANGE = [272, 26] as const;

/** A curve over a logarithmic grid as SVG, and a dashed line to compare it with. */
export function linePlot(args: LinePlotArgs): string {
  const { title, xAxis, yAxis, points, formatX, formatY } = args;
  const dashed = points.flatMap(({ x, dashed: y }) => (y === undefined ? [] : [{ x, y }]));
  const ys = [...points, ...dashed].map(({ y }) => y);
  const xs = points.map((point) => point.x);
  // The axis ends at the last length, not at a tick beyond it.
  const last = xs.pop()! * (1 - 1e-9);
  const x = logScale({ values: [...xs, last], range: X_RANGE }, args.xTicks);
  const y = logScale({ values: ys, range: Y_RANGE }, args.yTicks);
  const [left, right] = X_RANGE;
  const [bottom, top] = Y_RANGE;
  const at = (point: { readonly x: number; readonly y: number }): string =>
    `${px(x.at(point.x))} ${px(y.at(point.y))}`;
  return [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">`,
    ...x.ticks.map(
      (tick) =>
        `<line class="grid" x1="${px(x.at(tick))}" x2="${px(x.at(tick))}" y1="${top}" y2="${bottom}" />` +
        `<text class="tick" x="${px(x.at(tick))}" y="${bottom + 18}" text-anchor="middle">${escape(formatX(tick))}</text>`,
    ),
    ...y.ticks.map(
      (tick) =>
        `<line class="grid" x1="${left}" x2="${right}" y1="${px(y.at(tick))}" y2="${px(y.at(tick))}" />` +
        `<text class="tick" x="${left - 8}" y="${px(y.at(tick) + 4)}" text-anchor="end">${escape(formatY(tick))}</text>`,
    ),
    dashed.length > 0 ? `<path class="dashed" d="M${dashed.map(at).join('L')}" />` : '',
    `<path class="path" d="M${points.map(at).join('L')}" />`,
    ...points.map((point) => dot(point, { x, y }, args)),
    `<text class="axis" x="${(left + right) / 2}" y="${bottom + 42}" text-anchor="middle">${escape(xAxis)}</text>`,
    `<text class="axis" x="0" y="12">${escape(yAxis)}</text>`,
    '</svg>',
  ].join('\n');
}

interface Scales {
  readonly x: Scale;
  readonly y: Scale;
}

function dot(point: CurvePoint, { x, y }: Scales, { formatX, formatY }: LinePlotArgs): string {
  const dashed = point.dashed === undefined ? '' : `, dashed ${formatY(point.dashed)}`;
  const tooltip = `${formatX(point.x)}: ${formatY(point.y)}${dashed}`;
  return `<circle class="pageflash" cx="${px(x.at(point.x))}" cy="${px(y.at(point.y))}" r="4"><title>${escape(tooltip)}</title></circle>`;
}
