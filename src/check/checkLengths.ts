import { checkBeginsWithZero } from '../core/checkArguments.js';
import { INTS } from '../core/dtype.js';
import { isTensor, type Ints, type Tensor } from '../core/tensor.js';
import { isHostArray, type Call } from './call.js';
import { checkInts, checkIsNumbers } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';

/** Whether integers were given, on the host. */
export function onHost(ints: Tensor | Int32Array | null): ints is Int32Array {
  return ints !== null && !isTensor(ints);
}

/** Returns what a check makes of an argument; null if it was left out. */
export function optional<T, R>(value: T | undefined, check: (value: T) => R): R | null {
  return value === undefined ? null : check(value);
}

/** Returns B, from cuSeqlensQ [B + 1]. That it begins with 0 is checked first, since a missing 0 would change B. */
export function countSequences(call: Call, cuSeqlensQ: Ints, totalQ: number): number {
  if (isTensor(cuSeqlensQ)) checkForm(call, 'cuSeqlensQ', cuSeqlensQ, { dtypes: INTS, dims: ['B + 1'] });
  else checkIsNumbers(call, 'cuSeqlensQ', cuSeqlensQ);
  const length = isTensor(cuSeqlensQ) ? cuSeqlensQ.shape[0]! : cuSeqlensQ.length;
  if (length === 0) call.refuse('shape', 'cuSeqlensQ must have B + 1 numbers, at least one.');
  checkBatch(call, length - 1);
  if (!isTensor(cuSeqlensQ)) checkBeginsWithZero(call.name, 'cuSeqlensQ', cuSeqlensQ, totalQ);
  return length - 1;
}

/** Checks running sums [B + 1] of lengths, of all the tokens of a tensor or of fewer. */
export function checkSums(
  call: Call,
  name: string,
  sums: Ints,
  { batch, total }: { readonly batch: number; readonly total: number | undefined },
): Tensor | Int32Array {
  if (!isTensor(sums) && isHostArray(sums)) checkBeginsWithZero(call.name, name, sums, total);
  return checkInts(call, name, sums, { dims: ['B + 1'], sizes: [batch + 1] });
}

/** Returns the largest of some lengths; 0 if there are none. */
export function longest(lengths: Int32Array): number {
  return lengths.reduce((most, length) => Math.max(most, length), 0);
}

/** Where each sequence begins among the tokens of all, and how long it is. */
export interface Spans {
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
}

/** Returns starts and lengths from running sums, which begin with 0, must not decrease, and end within `total`. */
export function spans(call: Call, name: string, cuSeqlens: Int32Array, total: number, tensor: string): Spans {
  const batch = cuSeqlens.length - 1;
  const starts = call.memory.ints(`starts by ${name}`, batch);
  const lengths = call.memory.ints(`lengths by ${name}`, batch);
  for (let b = 0; b < batch; b++) {
    const [start, end] = [cuSeqlens[b]!, cuSeqlens[b + 1]!];
    // Compared and not subtracted, which could overflow 32 bits.
    if (end < start)
      call.refuse(
        'length',
        `${name} must not decrease, but ${name}[${b}] is ${start} and ${name}[${b + 1}] is ${end}.`,
      );
    starts[b] = start;
    lengths[b] = end - start;
  }
  const end = cuSeqlens[batch]!;
  if (end > total) call.refuse('length', `${name} ends at ${end} but ${tensor} has ${total} tokens.`);
  return { starts, lengths };
}

/** Positions, and the bounds of windows around them, stay within 32 bits below it. */
export const MAX_LENGTH = 2 ** 30;

/** Checks that no sequence has more queries or keys than the call allows, and than kernels can count. */
export function checkSeqlens(
  call: Call,
  what: 'queries' | 'keys',
  lengths: ArrayLike<number>,
  most = Infinity,
): void {
  const counted = (b: number): string => `sequence ${b} has ${lengths[b]} ${what}`;
  const bound = what === 'keys' ? 'maxSeqlenK' : 'maxSeqlenQ';
  call.each(
    'length',
    lengths,
    (length) => length <= most,
    (b) => `${counted(b)}, more than ${bound} = ${most}.`,
  );
  call.each(
    'limit',
    lengths,
    (length) => length <= MAX_LENGTH,
    (b) => `${counted(b)}, but kernels count to ${MAX_LENGTH}. Split it.`,
  );
}

/** Refuses lengths that only the GPU knows, where nothing bounds them. */
export function refuseUnbounded(call: Call, name: string, bound: 'maxSeqlenQ' | 'maxSeqlenK'): never {
  call.refuse('argument', `${name} is on the GPU, so ${bound} is needed.`);
}

/** Sequences that a call takes at most: beyond it the arrays of kernels alone would fill much memory. */
const MAX_BATCH = 2 ** 20;

export function checkBatch(call: Call, batch: number): void {
  if (batch > MAX_BATCH)
    call.refuse(
      'limit',
      `there are ${batch} sequences, but a call takes at most ${MAX_BATCH}. Make several calls.`,
    );
}
