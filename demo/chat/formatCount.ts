const COUNTS = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, notation: 'compact' });
const WHOLE = new Intl.NumberFormat('en');

/** A count for people: `1,024`, `135M`. */
export function formatCount(count: number): string {
  return count < 100_000 ? WHOLE.format(Math.round(count)) : COUNTS.format(count);
}

/** A time that something still takes: `12 s`, `3 min`. */
export function formatSeconds(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
