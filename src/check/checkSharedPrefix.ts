import { describe } from '../core/errors.js';
import { checkNames, namesOf } from '../core/checkArguments.js';
import { isTensor, type Tensor } from '../core/tensor.js';
import type { SharedPrefixArgs } from '../problem/attentionArgs.js';
import {
  isHostLengths,
  type BlockTable,
  type DeviceLengths,
  type HostLengths,
  type SharedPrefix,
} from '../problem/attentionProblem.js';
import { isCount, isHostArray, MAX_INT, type Call } from './call.js';
import { checkInts } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';
import { INTS } from '../core/dtype.js';

const NAMES = namesOf<SharedPrefixArgs>({ blockTable: true, length: true });
const TABLE = 'sharedPrefix.blockTable';

/** What a shared prefix is held against. */
interface Given {
  readonly pages: BlockTable | null;
  readonly lengths: HostLengths | DeviceLengths;
}

/** Checks the pages that sequences begin with, and, as far as the host knows, that they do; null if there are none. */
export function checkSharedPrefix(
  call: Call,
  given: SharedPrefixArgs | undefined,
  { pages, lengths }: Given,
): SharedPrefix | null {
  if (given === undefined) return null;
  const { memory } = call;
  const checked = memory.keep('checked prefix', [given, pages, lengths], () =>
    checkedPrefix(call, given, { pages, lengths }),
  );
  if (!checked) return null;
  // Of the same size the same object, whatever the page numbers, since the size is all that dispatches depend on.
  const { nKeys, table } = checked;
  return memory.keep('shared prefix', [nKeys, table], () => checked);
}

function checkedPrefix(call: Call, given: SharedPrefixArgs, { pages, lengths }: Given): SharedPrefix | null {
  checkNames(call.name, given, NAMES, { of: 'sharedPrefix' });
  if (!pages)
    call.refuse('argument', 'sharedPrefix needs blockTable: only sequences in pages can share some of them.');
  const { pageSize } = pages;
  const { length: nKeys } = given;
  if (!isCount(nKeys) || nKeys > MAX_INT)
    call.refuseValue('sharedPrefix.length', 'a whole number ≥ 0', nKeys);
  if (nKeys % pageSize !== 0) {
    call.refuse(
      'length',
      `sharedPrefix.length must be a multiple of the page size ${pageSize}, not ${nKeys}: pages are shared as a whole.`,
    );
  }
  const table = checkTable(call, given, nKeys / pageSize);
  if (nKeys === 0) return null;
  if (!isTensor(table)) checkPages(call, table.subarray(0, nKeys / pageSize), pages);
  if (isHostLengths(lengths)) checkSequences(call, { nKeys, table }, { pages, lengths });
  return { nKeys, table };
}

function checkTable(call: Call, { blockTable }: SharedPrefixArgs, nPages: number): Tensor | Int32Array {
  const isOnGpu = isTensor(blockTable);
  if (isOnGpu) checkForm(call, TABLE, blockTable, { dtypes: INTS, dims: ['n'] });
  else if (!isHostArray(blockTable)) call.refuseValue(TABLE, 'a tensor or an array of numbers', blockTable);
  const n = isOnGpu ? blockTable.shape[0]! : blockTable.length;
  if (n < nPages) {
    call.refuse(
      'length',
      `sharedPrefix.length needs ${nPages} pages but sharedPrefix.blockTable has ${n}. Pass the pages of all its tokens.`,
    );
  }
  return checkInts(call, TABLE, blockTable, { dims: ['n'], sizes: [n] });
}

function checkPages(call: Call, table: Int32Array, { nPages }: BlockTable): void {
  call.each(
    'length',
    table,
    (page) => page >= 0 && page < nPages,
    (column) => `${TABLE} has the page ${table[column]}, but there are pages 0 to ${nPages - 1}.`,
  );
}

/** Checks that every sequence with queries has the prefix in its cache, in the same pages. */
function checkSequences(
  call: Call,
  { nKeys, table }: SharedPrefix,
  { pages, lengths }: { readonly pages: BlockTable; readonly lengths: HostLengths },
): void {
  const { table: rows, width, pageSize } = pages;
  lengths.nCached.forEach((nCached, b) => {
    if (lengths.qLen[b] === 0) return;
    if (nCached < nKeys) {
      call.refuse(
        'length',
        `sequence ${b} has ${nCached} keys in the cache, fewer than the ${nKeys} of sharedPrefix. Leave sharedPrefix out, or pass a shorter one.`,
      );
    }
    if (isTensor(rows) || isTensor(table)) return;
    for (let column = 0; column < nKeys / pageSize; column++) {
      const page = rows[lengths.row[b]! * width + column];
      if (page === table[column]) continue;
      call.refuse(
        'length',
        `sequence ${b} has page ${describe(page)} where sharedPrefix has page ${table[column]}. Its row of blockTable must begin with the pages of the prefix.`,
      );
    }
  });
}
