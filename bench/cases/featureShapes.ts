import type { QuantisedDType } from '../../src/core/dtype.js';
import type { KvRotation } from '../../src/core/kvFormats.js';
import type { ModelHeads } from './shapes.js';

// Calls with one option more, each beside the plain call: the same one without the option, or with what is built in for it. Add
// a row by adding a shape here.

/** What the rows of one part of the report are about; `--shape` takes these names, too. */
export const FAMILIES = ['formats', 'masks', 'mods', 'blocks', 'prefix'] as const;
export type Family = (typeof FAMILIES)[number];

/** What a call has that the plain one has not. Windows, documents and blocks are parts of the number of keys. */
export type Feature =
  | { readonly name: 'format'; readonly kvDType: QuantisedDType; readonly kvRotation?: KvRotation }
  /** Bits that hide every other block of keys, as on a chessboard, a sixteenth of the keys wide. */
  | { readonly name: 'mask' }
  /** New tokens are a tree of drafts. */
  | { readonly name: 'tree' }
  /** Numbers that all heads share. */
  | { readonly name: 'bias' }
  /** Before a window of an eighth of the keys, which the plain call has, too. */
  | { readonly name: 'firstKeys'; readonly count: number }
  | { readonly name: 'scoreMod'; readonly builtIn: 'softcap' | 'alibi' }
  /** A window of an eighth of the keys, which the plain call has by `windowSize`. */
  | { readonly name: 'maskMod' }
  /** Documents of a seventh of the keys, or a window of an eighth; the plain call is dense. */
  | { readonly name: 'blockMask'; readonly of: 'documents' | 'window' }
  /** All keys but the last 128 are in pages that the sequences share. */
  | { readonly name: 'sharedPrefix' };

/** How many tokens there are. All sequences are alike, and causal: their queries are the last of their keys. */
export interface CallSize {
  readonly batch: number;
  /** Of each sequence; a prompt has as many as keys. */
  readonly nQueries: number;
  readonly nKeys: number;
}

export interface FeatureShape extends ModelHeads {
  readonly family: Family;
  /** The option, in words. */
  readonly what: string;
  /** The plain call, in words. */
  readonly beside: string;
  readonly feature: Feature;
  readonly size: CallSize;
  /** On software adapters, where heads are divided, too. */
  readonly softwareSize: CallSize;
}

/** Tokens of each sequence behind a shared prefix. */
export const OWN_TOKENS = 128;

const HEADS = { model: 'Llama-3-8B', nHeads: 32, nKvHeads: 8, headDim: 128 };

const PROMPT = { size: promptOf(4096), softwareSize: promptOf(1024) };
const SHORT_PROMPT = { size: promptOf(4096), softwareSize: promptOf(512) };
const STEP = { size: stepOf(4, 4096), softwareSize: stepOf(4, 2048) };

function promptOf(nKeys: number): CallSize {
  return { batch: 1, nQueries: nKeys, nKeys };
}

function stepOf(batch: number, nKeys: number, nQueries = 1): CallSize {
  return { batch, nQueries, nKeys };
}

const FORMATS: readonly (readonly [name: string, kvDType: QuantisedDType, kvRotation?: KvRotation])[] = [
  ['i8', 'i8'],
  ['i8-turned', 'i8', 'hadamard'],
  ['e4m3', 'e4m3'],
  ['i4', 'i4'],
  ['i4-turned', 'i4', 'hadamard'],
];

/** Steps and prompts over pages of each format. */
const FORMAT_SHAPES = (['step', 'prompt'] as const).flatMap((call) =>
  FORMATS.map(([name, kvDType, kvRotation]): FeatureShape => {
    const isStep = call === 'step';
    return {
      ...HEADS,
      name: `${isStep ? 'kv' : 'prompt'}-${name}`,
      family: 'formats',
      what: `${isStep ? 'a decode step' : 'a paged prompt'} over ${kvDType}${kvRotation ? " with kvRotation: 'hadamard'" : ''}`,
      beside: 'over halves',
      feature: { name: 'format', kvDType, ...(kvRotation && { kvRotation }) },
      ...(isStep ? STEP : SHORT_PROMPT),
    };
  }),
);

export const FEATURE_SHAPES: readonly FeatureShape[] = [
  ...FORMAT_SHAPES,
  {
    ...HEADS,
    name: 'mask',
    family: 'masks',
    what: 'a mask of bits that hides every other block',
    beside: 'causal alone',
    feature: { name: 'mask' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'bias',
    family: 'masks',
    what: 'a bias that all heads share',
    beside: 'causal alone',
    feature: { name: 'bias' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'first-keys',
    family: 'masks',
    what: 'four first keys and a window in a prompt',
    beside: 'the window alone',
    feature: { name: 'firstKeys', count: 4 },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'first-keys-step',
    family: 'masks',
    what: 'four first keys and a window in a decode step',
    beside: 'the window alone',
    feature: { name: 'firstKeys', count: 4 },
    ...STEP,
  },
  ...[16, 64].map((nDrafts): FeatureShape => {
    return {
      ...HEADS,
      name: `tree-${nDrafts}`,
      family: 'masks',
      what: `${nDrafts} drafts in a tree: treeMask and positions`,
      beside: 'in a row',
      feature: { name: 'tree' },
      size: stepOf(1, 16384, nDrafts),
      softwareSize: stepOf(1, 4096, nDrafts),
    };
  }),
  {
    ...HEADS,
    name: 'softcap-mod',
    family: 'mods',
    what: 'a scoreMod that is a softcap, in a prompt',
    beside: 'softcap',
    feature: { name: 'scoreMod', builtIn: 'softcap' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'softcap-mod-step',
    family: 'mods',
    what: 'a scoreMod that is a softcap, in a decode step',
    beside: 'softcap',
    feature: { name: 'scoreMod', builtIn: 'softcap' },
    ...STEP,
  },
  {
    ...HEADS,
    name: 'alibi-mod',
    family: 'mods',
    what: 'a scoreMod that is ALiBi, slopes in a tensor',
    beside: 'alibiSlopes',
    feature: { name: 'scoreMod', builtIn: 'alibi' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'window-mod',
    family: 'mods',
    what: 'a maskMod that is a window',
    beside: 'windowSize',
    feature: { name: 'maskMod' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'document-blocks',
    family: 'blocks',
    what: 'a blockMask of seven documents',
    beside: 'causal alone',
    feature: { name: 'blockMask', of: 'documents' },
    ...PROMPT,
  },
  {
    ...HEADS,
    name: 'window-blocks',
    family: 'blocks',
    what: 'a blockMask of a window',
    beside: 'causal alone',
    feature: { name: 'blockMask', of: 'window' },
    ...PROMPT,
  },
  ...[2, 8, 32].map((batch): FeatureShape => {
    return {
      ...HEADS,
      name: `prefix-${batch}`,
      family: 'prefix',
      what: `sharedPrefix of ${batch} sequences`,
      beside: 'each reads its own',
      feature: { name: 'sharedPrefix' },
      size: stepOf(batch, 4096 + OWN_TOKENS),
      softwareSize: stepOf(batch, 2048 + OWN_TOKENS),
    };
  }),
];
