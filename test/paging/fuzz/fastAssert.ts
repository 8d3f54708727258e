// What `expect` does takes longer than the operations that are checked a hundred thousand times.

export function assertSame(what: string, actual: unknown, expected: unknown): void {
  if (!Object.is(actual, expected))
    throw new Error(`${what}: ${String(actual)}, must be ${String(expected)}`);
}

export function assertSameNumbers(
  what: string,
  actual: readonly number[],
  expected: readonly number[],
): void {
  if (actual.length === expected.length && actual.every((value, i) => value === expected[i])) return;
  throw new Error(`${what}: [${actual.join(', ')}], must be [${expected.join(', ')}]`);
}

/** Calls what must throw an error of the given class, and returns it. */
export function assertThrows<T extends Error>(kind: new (...args: never[]) => T, call: () => unknown): T {
  try {
    call();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`must throw ${kind.name}`);
}
