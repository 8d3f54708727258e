/** A problem that whoever runs the engine can mend. Its message is one sentence or two for people, without a stack. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
}

/** @throws EngineError */
export function refuse(message: string, options?: ErrorOptions): never {
  throw new EngineError(message, options);
}

/** Bytes for people, in powers of 1000: `1.78 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
