import type { Call } from '../check/call.js';
import { isCount, MAX_INT } from '../check/call.js';
import { describe, shortened } from '../core/errors.js';
import { heldBefore } from '../paging/pool/pageTable.js';
import { gapOf, type SequenceState } from '../paging/saving.js';
import { scalesInWords, type CacheLayout } from './cacheLayout.js';

// How a saved sequence looks as bytes; all numbers are little-endian:
//
//   8                 MAGIC
//   4                 u32: SAVE_FORMAT
//   4                 u32: bytes of the description
//   …                 the description: JSON in UTF-8, the fields of `SaveDescription`
//   4                 CRC-32
//   4 · nTokens       i32: the tokens
//   4                 CRC-32
//   then, until all pages are there, pieces of `pagesPerPiece` pages, the last one of what is left:
//   pageBytes each    as `PagedKvCache.readPages` gives them; slots without a token are zeros
//   4                 CRC-32
//
// Pages are those of the tokens that are computed: the first `nKeptColumns` columns, and those from `firstColumn` on. Each
// CRC-32 is that of all bytes so far, without the earlier ones of these; so what is missing, changed or in another place is
// noticed at the next.

/** Its last four bytes do not survive a transfer as text. */
export const MAGIC = Uint8Array.of(0x89, 0x50, 0x46, 0x4b, 0x56, 0x0d, 0x0a, 0x1a);

/** Raised by every change of the format, and of what a page contains. */
export const SAVE_FORMAT = 1;

/** Bytes before the description. */
export const PREAMBLE_BYTES = MAGIC.length + 8;
export const CRC_BYTES = 4;

/** The most bytes of a description, nearly all of which is the fingerprint. */
export const MAX_DESCRIPTION_BYTES = 2 ** 16;
const MAX_FINGERPRINT = 4096;

/** What must be the same where a sequence is saved and restored. */
export interface SaveGeometry {
  /** The caller's name for all that decides about keys and values: model, weights, adapter, angles. */
  readonly fingerprint: string;
  readonly dtype: string;
  /** Of a quantised cache: the type of its scales, or a checksum of those of e4m3. */
  readonly scales?: string;
  /** How heads are turned, if they are. */
  readonly kvRotation?: string;
  readonly nLayers: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
  /** Whether pages have no values of their own. In the description only if they have none. */
  readonly valuesInKeys: boolean;
  readonly pageSize: number;
}

export interface SaveDescription extends SaveGeometry, Omit<SequenceState, 'tokens' | 'nKeptColumns'> {
  readonly nTokens: number;
  /** In the description only if there are any. */
  readonly nKeptColumns: number;
  readonly pagesPerPiece: number;
}

export function checkFingerprint(call: Call, fingerprint: string): void {
  const isText =
    typeof fingerprint === 'string' && fingerprint !== '' && fingerprint.length <= MAX_FINGERPRINT;
  if (!isText) call.refuseValue('fingerprint', `a string of 1 to ${MAX_FINGERPRINT} letters`, fingerprint);
}

export function geometryOf(layout: CacheLayout, fingerprint: string): SaveGeometry {
  const { dtype, nLayers, nKvHeads, k, v, valuesInKeys, pageSize, kvRotation } = layout;
  const scales = scalesInWords(layout);
  const heads = { nKvHeads, headDim: k.headDim, headDimV: v.headDim, valuesInKeys };
  const format = { dtype, ...(scales && { scales }), ...(kvRotation && { kvRotation }) };
  return { fingerprint, ...format, nLayers, ...heads, pageSize };
}

/** The pages that a description announces. */
export function pagesOf(description: SaveDescription): number {
  const { nComputed, pageSize } = description;
  return heldBefore(gapOf(description), Math.ceil(nComputed / pageSize));
}

/** How many pages each piece has. */
export function piecesOf(description: SaveDescription): number[] {
  const pieces: number[] = [];
  for (let nLeft = pagesOf(description); nLeft > 0; nLeft -= description.pagesPerPiece)
    pieces.push(Math.min(nLeft, description.pagesPerPiece));
  return pieces;
}

/** The bytes from the magic to the description. */
export function encodeDescription(description: SaveDescription): Uint8Array<ArrayBuffer> {
  const { valuesInKeys, nKeptColumns, ...others } = description;
  const fields = { ...others, ...(valuesInKeys && { valuesInKeys }), ...(nKeptColumns && { nKeptColumns }) };
  const json = new TextEncoder().encode(JSON.stringify(fields));
  const bytes = new Uint8Array(PREAMBLE_BYTES + json.length);
  bytes.set(MAGIC);
  const words = new DataView(bytes.buffer);
  words.setUint32(MAGIC.length, SAVE_FORMAT, true);
  words.setUint32(MAGIC.length + 4, json.length, true);
  bytes.set(json, PREAMBLE_BYTES);
  return bytes;
}

/** Checks the bytes before the description. Returns how many bytes that has. */
export function decodePreamble(call: Call, bytes: Uint8Array): number {
  if (MAGIC.some((byte, i) => bytes[i] !== byte))
    call.refuse('argument', `source is no saved sequence: it begins with ${hex(bytes)}, not ${hex(MAGIC)}.`);
  const words = new DataView(bytes.buffer, bytes.byteOffset);
  const format = words.getUint32(MAGIC.length, true);
  if (format !== SAVE_FORMAT)
    call.refuse(
      'argument',
      `source has format ${format}, but this version of pageflash reads ${SAVE_FORMAT}. Save it again.`,
    );
  const length = words.getUint32(MAGIC.length + 4, true);
  if (length <= MAX_DESCRIPTION_BYTES) return length;
  call.refuse(
    'argument',
    `source is damaged: its description would have ${length} bytes, more than ${MAX_DESCRIPTION_BYTES}.`,
  );
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, MAGIC.length), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** The description in bytes whose checksum is right. Its numbers are plausible, but need not fit the cache. */
export function decodeDescription(call: Call, bytes: Uint8Array): SaveDescription {
  const fields = parsed(bytes);
  const wrong = (name: string): never =>
    call.refuse('argument', `source has a wrong description: ${name} is ${describe(fields[name])}.`);
  const count = (name: keyof SaveDescription & string, least = 0, most = MAX_INT): number => {
    const value = fields[name];
    return isCount(value) && value >= least && value <= most ? value : wrong(name);
  };
  const text = (name: keyof SaveDescription & string): string => {
    const value = fields[name];
    return typeof value === 'string' ? value : wrong(name);
  };
  const { salt, isPrivate, valuesInKeys = false } = fields;
  const pageSize = count('pageSize', 1);
  const nTokens = count('nTokens');
  const nOnceComputed = count('nOnceComputed', 0, nTokens);
  const nComputed = count('nComputed', 0, nOnceComputed);
  const firstColumn = count('firstColumn', 0, Math.floor(nComputed / pageSize));
  return {
    fingerprint: text('fingerprint'),
    dtype: text('dtype'),
    ...(fields['scales'] !== undefined && { scales: text('scales') }),
    ...(fields['kvRotation'] !== undefined && { kvRotation: text('kvRotation') }),
    nLayers: count('nLayers', 1),
    nKvHeads: count('nKvHeads', 1),
    headDim: count('headDim', 1),
    headDimV: count('headDimV', 1),
    valuesInKeys: typeof valuesInKeys === 'boolean' ? valuesInKeys : wrong('valuesInKeys'),
    pageSize,
    nTokens,
    nComputed,
    nOnceComputed,
    firstColumn,
    nKeptColumns: fields['nKeptColumns'] === undefined ? 0 : count('nKeptColumns', 0, firstColumn),
    salt: typeof salt === 'number' && salt === (salt | 0) ? salt : wrong('salt'),
    isPrivate: typeof isPrivate === 'boolean' ? isPrivate : wrong('isPrivate'),
    pagesPerPiece: count('pagesPerPiece', 1),
  };
}

function parsed(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Refuses what was saved elsewhere than where it is restored, with both values of all that differs. */
export function checkGeometry(call: Call, saved: SaveGeometry, here: SaveGeometry): void {
  const names = new Set<keyof SaveGeometry>(Object.keys(here) as (keyof SaveGeometry)[]);
  for (const name of ['scales', 'kvRotation'] as const) if (saved[name] !== undefined) names.add(name);
  const differing = [...names].filter((name) => saved[name] !== here[name]);
  if (differing.length === 0) return;
  const shown = (of: SaveGeometry): string =>
    differing
      .map(
        (name) =>
          `${name} ${name === 'fingerprint' ? describe(of[name]) : shortened(`${of[name] ?? 'none'}`)}`,
      )
      .join(', ');
  call.refuse(
    'argument',
    `source was saved with ${shown(saved)}, but is to be restored with ${shown(here)}. Compute its tokens again.`,
  );
}

/** Zeros in the slots of a page that have no token: they may have something of another sequence, or NaN. */
export function clearUnusedSlots(
  { nLayers, pageSize, parts }: CacheLayout,
  page: Uint8Array,
  nUsed: number,
): void {
  if (nUsed >= pageSize) return;
  let at = 0;
  for (let layer = 0; layer < nLayers; layer++)
    for (const { tokenBytes, strideBytes } of parts) {
      page.fill(0, at + nUsed * tokenBytes, at + strideBytes);
      at += strideBytes;
    }
}
