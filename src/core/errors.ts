/**
 * What went wrong, as a stable word that a program can branch on. The message is for people and may change.
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
 * | `compile` | a kernel was refused by the shader compiler: always a bug in pageflash or the driver |
 */
export type ErrorCode = 'argument' | 'shape' | 'dtype' | 'buffer' | 'length' | 'limit' | 'device' | 'compile';

/**
 * The only error that pageflash throws. Thrown before anything is recorded, written or moved, but for what a device tells
 * only after a call: `runtime.done()` or the next call throws that, in the name of the call that it is about.
 */
export class PageflashError extends Error {
  override readonly name = 'PageflashError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Raises an error in the name of a public function. */
export function fail(code: ErrorCode, caller: string, message: string): never {
  throw new PageflashError(code, `${caller}: ${message}`);
}
