import type { Summary } from './statistics.js';

/** 1536 is `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${threeDigits(bytes / 1024 ** power)} ${units[power]}`;
}

/** Milliseconds below a second, seconds above. */
export function formatMs(ms: number): string {
  if (ms >= 1000) return `${threeDigits(ms / 1000)} s`;
  return ms >= 1 ? `${threeDigits(ms)} ms` : `${threeDigits(ms * 1000)} µs`;
}

export function formatUs(us: number): string {
  return formatMs(us / 1000);
}

export function formatRatio(ratio: number): string {
  return `${ratio >= 100 ? ratio.toFixed(0) : ratio.toFixed(ratio >= 10 ? 1 : 2)}×`;
}

/** What is little above 1. */
export function formatExcess(ratio: number): string {
  return ratio.toFixed(3);
}

/** Three digits that count, without an exponent and without zeros at the end. */
export function threeDigits(x: number): string {
  if (x >= 100) return x.toFixed(0);
  return String(Number(x.toPrecision(3)));
}

/** `1m05s` or `5s`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const rest = seconds % 60;
  return seconds < 60 ? `${rest}s` : `${Math.floor(seconds / 60)}m${String(rest).padStart(2, '0')}s`;
}

/** The median, and the quartiles in brackets. */
export function formatSpread({ median, q1, q3 }: Summary, format: (value: number) => string): string {
  return `${format(median)} [${format(q1)}, ${format(q3)}]`;
}
