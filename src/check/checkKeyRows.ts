import { FLOATS } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import type { QueryLayout } from '../problem/tokenRows.js';
import type { Call } from './call.js';
import { longest } from './checkLengths.js';
import { checkTensor, inBrackets, type TensorRule } from './checkTensor.js';

/** What tensors with something for each pair of a row and a key are checked against. */
export interface KeyRowsRules {
  readonly q: Tensor;
  readonly layout: QueryLayout;
  readonly lengths: HostLengths | DeviceLengths;
}

/** Keys whose bits a word of `mask` has. */
const WORD_KEYS = 32;

/** Checks `mask` and `bias`: each has a row for every query token, with a place for every key that there may be. */
export function checkKeyRows(
  call: Call,
  { mask, bias }: Pick<AttentionOptions, 'mask' | 'bias'>,
  { q, layout, lengths }: KeyRowsRules,
): Pick<AttentionProblem, 'mask' | 'bias'> {
  if (mask === undefined && bias === undefined) return NONE;
  return call.memory.keep('key rows', [mask, bias, q, layout, lengths], () => {
    const most = mostKeys(lengths);
    const check = (name: 'mask' | 'bias', tensor: Tensor, kind: RowKind) => {
      checkKeyRow(call, name, tensor, { ...kind, q, layout, most });
      return layout.keyRows(tensor);
    };
    return {
      mask:
        mask === undefined
          ? null
          : check('mask', mask, { dtypes: ['u32'], unit: 'words', keysOfOne: WORD_KEYS }),
      bias: bias === undefined ? null : check('bias', bias, { dtypes: FLOATS, unit: 'keys', keysOfOne: 1 }),
    };
  });
}

const NONE: Pick<AttentionProblem, 'mask' | 'bias'> = { mask: null, bias: null };

/** What the elements of a row are. */
interface RowKind {
  readonly dtypes: TensorRule['dtypes'];
  readonly unit: string;
  /** Keys that an element is for. */
  readonly keysOfOne: number;
}

function checkKeyRow(
  call: Call,
  name: string,
  tensor: Tensor,
  { dtypes, unit, keysOfOne, q, layout, most }: RowKind & Omit<KeyRowsRules, 'lengths'> & { most: MostKeys },
): void {
  const dims = layout.keyDims;
  checkTensor(call, name, tensor, {
    dtypes,
    dims: [...dims.map((dim) => (mayBeOne(dim) ? `${dim} or 1` : dim)), unit],
  });
  const sizes = layout.lseSizes(q.shape);
  const { shape } = tensor;
  dims.forEach((dim, axis) => {
    const [size, wanted] = [shape[axis]!, sizes[axis]!];
    if (size === wanted || (mayBeOne(dim) && size === 1)) return;
    const others = mayBeOne(dim) && wanted !== 1 ? ' or 1' : '';
    call.refuse(
      'shape',
      `${name} is ${inBrackets(shape)}: its dimension ${dim} must be ${wanted}${others}, not ${size}.`,
    );
  });
  const needed = Math.ceil(most.keys / keysOfOne);
  const width = shape.at(-1)!;
  if (width >= needed) return;
  call.refuse(
    'shape',
    `${name} has ${width} ${unit} in a row, but ${most.why} ${most.keys} keys${keysOfOne > 1 ? `, which take ${needed}` : ''}. Pass a wider one${most.hint}.`,
  );
}

function mayBeOne(dim: string): boolean {
  return dim === 'B' || dim === 'Hq';
}

/** The most keys that a sequence has, or may have, and how the caller can tell. */
interface MostKeys {
  readonly keys: number;
  readonly why: string;
  readonly hint: string;
}

function mostKeys(lengths: HostLengths | DeviceLengths): MostKeys {
  if (!isHostLengths(lengths))
    return { keys: lengths.maxSeqlenK, why: 'sequences may have up to', hint: ', or a smaller maxSeqlenK' };
  const keys = longest(lengths.kLen);
  return { keys, why: `sequence ${lengths.kLen.indexOf(keys)} has`, hint: '' };
}
