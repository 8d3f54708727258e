/**
 * What went wrong, as a stable word that a program can branch on. The message is for people, and may change.
 *
 * | code | meaning |
 * | --- | --- |
 * | `argument` | an option is missing, unknown, contradictory or out of its range |
 * | `shape` | a tensor's shape or strides do not fit the operation |
 * | `dtype` | a tensor's element type does not fit |
 * | `buffer` | a GPU buffer is too small, of the wrong usage, destroyed, another device's, or used for input and output at once |
 * | `length` | sequence lengths, offsets or tables contradict the tensors |
 * | `limit` | the device's limits, features or memory do not allow it |
 * | `device` | the device is lost or destroyed, or a tensor was made by another one than the runtime's |
 * | `compile` | a kernel was refused by the shader compiler: an error in the code of a mod, which is quoted; else always a bug in pageflash or the driver |
 */
export type ErrorCode = 'argument' | 'shape' | 'dtype' | 'buffer' | 'length' | 'limit' | 'device' | 'compile';

/**
 * The only error that pageflash throws. A call throws before it records, writes or moves anything. The exception is what
 * a device reports after the call has returned: `runtime.done()` or the next call throws that, in the name of the
 * earlier call.
 */
export class PageflashError extends Error {
  override readonly name = 'PageflashError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Throws an error in the name of the public function that was called. */
export function fail(code: ErrorCode, caller: string, message: string): never {
  throw new PageflashError(code, `${caller}: ${message}`);
}

/** The most entries of an array, and letters of a string, that a message shows. */
const MOST_ENTRIES = 12;
const MOST_LETTERS = 60;

/** Any value in a few words, for a message that refuses it. */
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

/** The entries of an array. Arrays among them are shown by their length alone. */
function describeList(list: readonly unknown[]): string {
  const shown = Array.from({ length: Math.min(list.length, MOST_ENTRIES) }, (_, i) => {
    const entry = list[i];
    return Array.isArray(entry) ? `an array of ${entry.length}` : describe(entry);
  });
  if (list.length > MOST_ENTRIES) shown.push(`… ${list.length} in all`);
  return `[${shown.join(', ')}]`;
}

/** A text with no more letters than a message shows. */
export function shortened(text: string): string {
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}…` : text;
}
