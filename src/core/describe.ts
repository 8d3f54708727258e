/** Entries of an array and letters of a string that are worth showing. */
const MOST_ENTRIES = 12;
const MOST_LETTERS = 60;

/** A value of the wrong kind, in a few words, whatever it is. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return `"${shortened(value)}"`;
  if (typeof value === 'bigint') return shortened(`${value}n`);
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) return describeList(value);
  const kind: unknown = value.constructor?.name;
  if (typeof kind !== 'string' || kind === 'Object') return 'a plain object';
  return `a ${shortened(kind)}`;
}

/** The entries of an array, but not those of arrays in it. */
function describeList(list: readonly unknown[]): string {
  const shown = Array.from({ length: Math.min(list.length, MOST_ENTRIES) }, (_, i) => {
    const entry = list[i];
    return Array.isArray(entry) ? `an array of ${entry.length}` : describe(entry);
  });
  if (list.length > MOST_ENTRIES) shown.push(`… ${list.length} in all`);
  return `[${shown.join(', ')}]`;
}

function shortened(text: string): string {
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}…` : text;
}
