import { fail } from './checkTensor.js';

const MAX_HEAD_DIM = 256;

interface Heads {
  readonly Hq: number;
  readonly Hkv: number;
  readonly D: number;
  readonly Dv: number;
}

/** Checks what every attention kernel asks of heads. `k` and `v` are what the caller calls keys and values. */
export function checkHeads(caller: string, { Hq, Hkv, D, Dv }: Heads, k = 'k', v = 'v'): void {
  if (Hq === 0) fail('shape', caller, 'q has no heads.');
  if (Hkv === 0) fail('shape', caller, `${k} has no heads.`);
  if (Hq % Hkv !== 0) {
    fail(
      'shape',
      caller,
      `q has ${Hq} heads, which is not a multiple of the ${Hkv} key/value heads of ${k}.`,
    );
  }
  for (const [name, headDim] of [
    ['q', D],
    [v, Dv],
  ] as const) {
    if (headDim < 1 || headDim > MAX_HEAD_DIM)
      fail('shape', caller, `${name} has head size ${headDim}; it must be 1 to ${MAX_HEAD_DIM}.`);
  }
}
