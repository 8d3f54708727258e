import { spreadOf, WIDE_SPREAD, type Summary } from './statistics.js';

/** Bytes with a binary unit: 1536 is `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${threeDigits(bytes / 1024 ** power)} ${units[power]}`;
}

/** A time with its unit: µs below 1 ms, ms below 1 s, else seconds. */
export function formatMs(ms: number): string {
  if (ms >= 1000) return `${threeDigits(ms / 1000)} s`;
  return ms >= 1 ? `${threeDigits(ms)} ms` : `${threeDigits(ms * 1000)} µs`;
}

/** As `formatMs`, from microseconds. */
export function formatUs(us: number): string {
  return formatMs(us / 1000);
}

/** A ratio with two or three digits: `4.46×`, `12.3×`. */
export function formatRatio(ratio: number): string {
  return `${ratio >= 100 ? ratio.toFixed(0) : ratio.toFixed(ratio >= 10 ? 1 : 2)}×`;
}

/** A ratio below 1, with two significant digits: `0.25`, `0.0083`. */
export function formatFraction(ratio: number): string {
  return ratio >= 1 ? ratio.toFixed(2) : ratio.toPrecision(2);
}

/** A ratio close to 1, where the third decimal matters: `1.048`. */
export function formatExcess(ratio: number): string {
  return ratio.toFixed(3);
}

/** Three significant digits, without an exponent and without trailing zeros. */
export function threeDigits(x: number): string {
  if (x >= 100) return x.toFixed(0);
  return String(Number(x.toPrecision(3)));
}

/** A duration in whole seconds: `5s` or `1m05s`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const rest = seconds % 60;
  return seconds < 60 ? `${rest}s` : `${Math.floor(seconds / 60)}m${String(rest).padStart(2, '0')}s`;
}

/** The median, then the quartiles in brackets. */
export function formatSpread({ median, q1, q3 }: Summary, format: (value: number) => string): string {
  return `${format(median)} [${format(q1)}, ${format(q3)}]`;
}

/** Such as `spread 31 %`: the distance of the quartiles over the median, where it is wide; else empty. */
export function formatWideSpread(summary: Summary): string {
  const spread = spreadOf(summary);
  return spread > WIDE_SPREAD ? `spread ${formatPercent(spread)}` : '';
}

/** A share in percent: `69 %`, or `0.4 %` where it is small. */
export function formatPercent(share: number): string {
  const percent = 100 * share;
  return `${percent < 1 ? Number(percent.toPrecision(1)) : percent.toFixed(0)} %`;
}
