import { describe } from './describe.js';
import { fail } from './errors.js';

/**
 * Checks that running sums of lengths begin with 0. The commonest mistakes are sums without it and the lengths
 * themselves; the numbers tell which it was.
 *
 * @param total tokens of the tensor that the sums are about; undefined where pages hold them
 * @throws PageflashError `length`
 */
export function checkBeginsWithZero(
  caller: string,
  name: string,
  cuSeqlens: ArrayLike<number>,
  total: number | undefined,
): void {
  const first = cuSeqlens[0];
  if (!Number.isInteger(first) || first === 0) return;
  const numbers = Array.from(cuSeqlens);
  // What is no list of whole numbers is told by the check of its kind.
  if (!numbers.every(Number.isInteger)) return;
  fail('length', caller, `${name} must begin with 0, not ${first}: ${remedy(numbers, total)}.`);
}

function remedy(numbers: readonly number[], total: number | undefined): string {
  const withZero = [0, ...numbers];
  const falls = numbers.some((number, i) => number < withZero[i]!);
  if (!falls && numbers.at(-1) === total)
    return `it looks like sums without the leading 0. Pass ${describe(withZero)}`;
  const sums = [0];
  for (const length of numbers) sums.push(sums.at(-1)! + length);
  const areLengths = falls ? numbers.every((length) => length >= 0) : sums.at(-1) === total;
  if (areLengths) return `it looks like lengths. Pass their running sums, ${describe(sums)}`;
  return 'pass the running sums of the lengths, with a 0 before the first';
}
