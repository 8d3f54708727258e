// Attention in f64, by its definition: what every kernel must equal.
export type { AttentionOptions, AttentionResult } from './attend.js';
export { attnReference, type AttnReferenceArgs } from './attn.js';
export { attnVarlenReference, type AttnVarlenReferenceArgs } from './attnVarlen.js';
export {
  attnWithKvCacheReference,
  type AttnWithKvCacheReferenceArgs,
  type AttnWithKvCacheResult,
} from './attnWithKvCache.js';
export type { HostFloats, HostInts, HostTensor } from './hostTensor.js';
export { mergeStatesReference } from './mergeStates.js';
