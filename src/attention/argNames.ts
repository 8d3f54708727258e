import type { ArgNames } from '../check/call.js';
import { namesOf } from '../core/checkArguments.js';
import type { Step } from '../paging/planner/step.js';
import type {
  AttentionOptions,
  AttnArgs,
  AttnVarlenArgs,
  AttnWithKvCacheArgs,
} from '../problem/attentionArgs.js';
import type {
  CacheWeightsArgs,
  ChosenRows,
  DenseWeightsArgs,
  NotOfWeights,
  VarlenWeightsArgs,
} from '../problem/weightsArgs.js';

const OPTIONS: Readonly<Record<keyof AttentionOptions, true>> = {
  softmaxScale: true,
  causal: true,
  windowSize: true,
  softcap: true,
  alibiSlopes: true,
  sinks: true,
  attentionChunk: true,
  firstKeys: true,
  mask: true,
  bias: true,
  positions: true,
  treeMask: true,
  scoreMod: true,
  maskMod: true,
  numSplits: true,
  returnLse: true,
  out: true,
  lse: true,
  pass: true,
};

/** Fields of a `Batch` or a `Step` that no call uses. They are accepted, so that these can be spread into arguments. */
const NO_ARGUMENTS = {
  nSequences: true,
  nNewTokens: true,
  tableWidth: true,
  tokenPositions: true,
  slotMapping: true,
  sequences: true,
  tokens: true,
  unknownRows: true,
  unknownSamples: true,
  sampled: true,
  sampledRows: true,
  swapsOut: true,
  copies: true,
  swapsIn: true,
} as const;

/** Where sequences begin, and how long they are. */
const VARLEN_LENGTHS = {
  cuSeqlensQ: true,
  cuSeqlensK: true,
  sequsedK: true,
  maxSeqlenQ: true,
  maxSeqlenK: true,
  blockTable: true,
} as const;

/** Lengths of a cache's sequences, where their tokens are, and the angles of positions. */
const CACHE_PLACES = {
  cacheSeqlens: true,
  cuSeqlensQ: true,
  cuSeqlensKNew: true,
  maxSeqlenQ: true,
  maxSeqlenK: true,
  blockTable: true,
  cacheBatchIdx: true,
  cacheLeftpad: true,
  rotaryCos: true,
  rotarySin: true,
  rotaryDim: true,
  rotaryInterleaved: true,
  rotarySections: true,
  rotarySectionsInterleaved: true,
} as const;

export const ATTN_NAMES: ArgNames<AttnArgs> = {
  used: namesOf<AttnArgs>({ q: true, k: true, v: true, blockMask: true, ...OPTIONS }),
  unused: [],
};

export const VARLEN_NAMES: ArgNames<AttnVarlenArgs> = {
  used: namesOf<AttnVarlenArgs>({
    q: true,
    k: true,
    v: true,
    kScale: true,
    vScale: true,
    blockMask: true,
    kvRotation: true,
    ...VARLEN_LENGTHS,
    ...OPTIONS,
  }),
  unused: namesOf<Omit<Step, keyof AttnVarlenArgs>>({
    ...NO_ARGUMENTS,
    cacheSeqlens: true,
    cuSeqlensKNew: true,
    cacheBatchIdx: true,
  }),
};

export const KV_CACHE_NAMES: ArgNames<AttnWithKvCacheArgs> = {
  used: namesOf<AttnWithKvCacheArgs>({
    q: true,
    kCache: true,
    vCache: true,
    kScale: true,
    vScale: true,
    kvRotation: true,
    k: true,
    v: true,
    sharedPrefix: true,
    ...CACHE_PLACES,
    ...OPTIONS,
  }),
  unused: namesOf<Omit<Step, keyof AttnWithKvCacheArgs>>({ ...NO_ARGUMENTS, sequsedK: true }),
};

/** Names of arguments, by the call whose arguments `attnWeights` is given. */
interface WeightsNames {
  readonly dense: ArgNames<DenseWeightsArgs>;
  readonly varlen: ArgNames<VarlenWeightsArgs>;
  readonly cache: ArgNames<CacheWeightsArgs>;
}

/** Bundlers drop it from programs that do not call `attnWeights`, as they would not drop what it calls and spreads. */
export const WEIGHTS_NAMES: WeightsNames = /* @__PURE__ */ weightsNames();

function weightsNames(): WeightsNames {
  const {
    sinks: _sinks,
    numSplits: _numSplits,
    returnLse: _returnLse,
    out: _out,
    lse,
    pass,
    ...masks
  } = OPTIONS;
  const options = { rows: true, lse, weights: true, pass, ...masks } as const satisfies Readonly<
    Record<keyof ChosenRows | Exclude<keyof AttentionOptions, NotOfWeights | 'out'>, true>
  >;

  const others = namesOf<Record<NotOfWeights, unknown>>({
    v: true,
    vCache: true,
    vScale: true,
    sinks: true,
    numSplits: true,
    returnLse: true,
    sharedPrefix: true,
  });

  return {
    dense: {
      used: namesOf<DenseWeightsArgs>({ q: true, k: true, blockMask: true, ...options }),
      unused: others,
    },
    varlen: {
      used: namesOf<VarlenWeightsArgs>({
        q: true,
        k: true,
        kScale: true,
        blockMask: true,
        kvRotation: true,
        ...VARLEN_LENGTHS,
        ...options,
      }),
      unused: [...VARLEN_NAMES.unused, ...others],
    },
    cache: {
      used: namesOf<CacheWeightsArgs>({
        q: true,
        kCache: true,
        kScale: true,
        kvRotation: true,
        k: true,
        ...CACHE_PLACES,
        ...options,
      }),
      unused: [...KV_CACHE_NAMES.unused, ...others],
    },
  };
}
