import { escape } from './html.js';
import { logScale, px, type LogTicks, type Scale } from './plot.js';

/** A point of the curve, and where it would be at the rate that was measured. */
export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  readonly ideal?: number | undefined;
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

const WIDTH = 520;
const HEIGHT = 330;
const X_RANGE = [78, 500] as const;
/** From the bottom up. */
const Y_RANGE = [272, 26] as const;

/** A curve over a logarithmic grid as SVG, with the straight line that it could reach at best dashed. */
export function linePlot(args: LinePlotArgs): string {
  const { title, xAxis, yAxis, points, formatX, formatY } = args;
  const ideals = points.flatMap(({ x, ideal }) => (ideal === undefined ? [] : [{ x, y: ideal }]));
  const ys = [...points, ...ideals].map(({ y }) => y);
  const x = logScale({ values: points.map((point) => point.x), range: X_RANGE }, args.xTicks);
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
    ideals.length > 0 ? `<path class="ideal" d="M${ideals.map(at).join('L')}" />` : '',
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
  const ideal = point.ideal === undefined ? '' : `, at best ${formatY(point.ideal)}`;
  const tooltip = `${formatX(point.x)}: ${formatY(point.y)}${ideal}`;
  return `<circle class="pageflash" cx="${px(x.at(point.x))}" cy="${px(y.at(point.y))}" r="4"><title>${escape(tooltip)}</title></circle>`;
}
