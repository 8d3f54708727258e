import { checkChoice } from '../core/checkArguments.js';
import { FLOATS } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { MAX_HEAD_DIM, MAX_HEAD_DIM_V } from '../problem/attentionProblem.js';

/** Checks the head sizes of a model, by name; that they are counts is known. */
export function checkHeadDims(
  caller: string,
  { headDim, headDimV }: { readonly headDim: number; readonly headDimV: number },
): void {
  checkAtMost(caller, { headDim }, MAX_HEAD_DIM);
  checkAtMost(caller, { headDimV }, MAX_HEAD_DIM_V);
}

/** More heads than any model has. A bound, so that planning does not run out of memory. */
const MAX_HEADS = 2 ** 16;

/** Checks numbers of heads, by name; that they are counts is known. */
export function checkHeads(caller: string, counts: Readonly<Record<string, number>>): void {
  checkAtMost(caller, counts, MAX_HEADS);
}

function checkAtMost(caller: string, sizes: Readonly<Record<string, number>>, most: number): void {
  for (const [name, size] of Object.entries(sizes))
    if (size > most) fail('shape', caller, `${name} is ${size}; it must be 1 to ${most}.`);
}

/** Checks element types, by name. */
export function checkTypes(caller: string, types: Readonly<Record<string, unknown>>): void {
  for (const [name, type] of Object.entries(types)) checkChoice(caller, name, type, FLOATS);
}
