import { FIGURES, WARM_UP, type Figure, type SoakResults } from './samples.js';

const WIDTH = 420;
const HEIGHT = 150;
const COLUMNS = 2;
/** Around the lines of a panel: room for its title, and for the numbers at the left and below. */
const INSET = { left: 64, right: 26, top: 30, bottom: 26 };
const HEAD = 44;

/** A panel for each figure over the steps, as SVG. */
export function plot({ samples, environment, date }: SoakResults): string {
  const figures = FIGURES.filter(({ of }: Figure) => samples.every((sample) => of(sample) !== undefined));
  const height = HEAD + Math.ceil(figures.length / COLUMNS) * HEIGHT;
  const steps = samples.at(-1)!.step;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${COLUMNS * WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="11" fill="#333">`,
    `<rect width="100%" height="100%" fill="#fff" />`,
    `<text x="14" y="26" font-size="15" font-weight="600">${steps.toLocaleString('en')} steps of a churning batch</text>`,
    `<text x="${COLUMNS * WIDTH - 14}" y="26" text-anchor="end" fill="#777">${environment}, ${date.slice(0, 10)}</text>`,
    ...figures.map((figure, i) => {
      const [x, y] = [(i % COLUMNS) * WIDTH, HEAD + Math.floor(i / COLUMNS) * HEIGHT];
      return `<g transform="translate(${x} ${y})">${panel(figure, { samples, steps })}</g>`;
    }),
    '</svg>',
    '',
  ].join('\n');
}

function panel(
  { name, unit, of }: Figure,
  { samples, steps }: Pick<SoakResults, 'samples'> & { readonly steps: number },
): string {
  const values = samples.map((sample) => of(sample)!);
  const top = niceAbove(Math.max(...values, 1), unit);
  const x = (step: number): string => round(INSET.left + (step / steps) * (WIDTH - INSET.left - INSET.right));
  const bottom = HEIGHT - INSET.bottom;
  const y = (value: number): string => round(bottom - (value / top) * (bottom - INSET.top));
  const line = samples.map(({ step }, i) => `${x(step)},${y(values[i]!)}`).join(' ');
  const ticks = [0, top / 2, top].map(
    (value) =>
      `<line x1="${x(0)}" x2="${x(steps)}" y1="${y(value)}" y2="${y(value)}" stroke="#e3e3e3" />` +
      `<text x="${INSET.left - 8}" y="${y(value)}" dy="4" text-anchor="end" fill="#777">${format(value, unit)}</text>`,
  );
  const places = [0, steps / 2, steps].map(
    (step) =>
      `<text x="${x(step)}" y="${HEIGHT - 8}" text-anchor="middle" fill="#777">${step.toLocaleString('en')}</text>`,
  );
  return [
    `<rect x="${x(0)}" y="${y(top)}" width="${round(Number(x(WARM_UP * steps)) - Number(x(0)))}" height="${round(bottom - INSET.top)}" fill="#f4f1ea" />`,
    `<text x="${INSET.left}" y="18" font-weight="600">${name}</text>`,
    `<text x="${Number(x(0)) + 5}" y="${INSET.top + 12}" fill="#a79f8d">warm-up</text>`,
    ...ticks,
    ...places,
    `<polyline points="${line}" fill="none" stroke="#1f6feb" stroke-width="1.6" stroke-linejoin="round" />`,
  ].join('');
}

const MIB = 2 ** 20;

/** A round number above the values, which half of is round as well. */
function niceAbove(value: number, unit: Figure['unit']): number {
  const base = unit === 'bytes' ? (value < MIB ? 1024 : MIB) : 1;
  const scaled = (value / base) * 1.1;
  const power = 10 ** Math.floor(Math.log10(scaled));
  return [1, 2, 4, 6, 8, 10].find((factor) => factor * power >= scaled)! * power * base;
}

function format(value: number, unit: Figure['unit']): string {
  if (unit === '') return value.toLocaleString('en');
  if (value === 0) return '0';
  return value < MIB ? `${+(value / 1024).toFixed(1)} KiB` : `${+(value / MIB).toFixed(1)} MiB`;
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}
