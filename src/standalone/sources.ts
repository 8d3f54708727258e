import type { Kernel, WgslModule, WgslNotes } from '../wgsl/kernel.js';
import appendKv from '../kernels/append_kv.wgsl';
import appendKvNotes from '../kernels/append_kv.wgsl?notes';
import appendQuantised from '../kernels/append_quantised.wgsl';
import appendQuantisedNotes from '../kernels/append_quantised.wgsl?notes';
import attnDecode from '../kernels/attn_decode.wgsl';
import attnDecodeNotes from '../kernels/attn_decode.wgsl?notes';
import attnPrefill from '../kernels/attn_prefill.wgsl';
import attnPrefillNotes from '../kernels/attn_prefill.wgsl?notes';
import attnWeights from '../kernels/attn_weights.wgsl';
import attnWeightsNotes from '../kernels/attn_weights.wgsl?notes';
import copyPages from '../kernels/copy_pages.wgsl';
import copyPagesNotes from '../kernels/copy_pages.wgsl?notes';
import gatherHeads from '../kernels/gather_heads.wgsl';
import gatherHeadsNotes from '../kernels/gather_heads.wgsl?notes';
import gatherTokens from '../kernels/gather_tokens.wgsl';
import gatherTokensNotes from '../kernels/gather_tokens.wgsl?notes';
import gatherLengths from '../kernels/gather_lengths.wgsl';
import gatherLengthsNotes from '../kernels/gather_lengths.wgsl?notes';
import mergeStates from '../kernels/merge_states.wgsl';
import mergeStatesNotes from '../kernels/merge_states.wgsl?notes';
import turnHeads from '../kernels/turn_heads.wgsl';
import turnHeadsNotes from '../kernels/turn_heads.wgsl?notes';
import batchInfo from '../kernels/shared/batch_info.wgsl?module';
import batchInfoNotes from '../kernels/shared/batch_info.wgsl?notes';
import { constantOf } from '../wgsl/reflection.js';
import type { FactorInShort } from './gridRule.js';
import type { KernelName } from './options.js';

/** A kernel with what the build read of its source. */
export interface Source {
  readonly kernel: Kernel;
  readonly notes: WgslNotes;
  /** The product is the number of jobs of a dispatch. */
  readonly factors: readonly FactorInShort[];
  /** How many invocations take one job. */
  readonly jobInvocations: number | 'workgroup';
}

export const SOURCES: Readonly<Record<KernelName, Source>> = {
  attn_prefill: {
    kernel: attnPrefill,
    notes: attnPrefillNotes,
    factors: [{ plus: ['end_item'], minus: ['first_item'] }, 'n_kv_heads'],
    jobInvocations: 'workgroup',
  },
  attn_decode: {
    kernel: attnDecode,
    notes: attnDecodeNotes,
    factors: [{ plus: ['end_item'], minus: ['first_item'] }, 'n_kv_heads'],
    jobInvocations: 'workgroup',
  },
  attn_weights: {
    kernel: attnWeights,
    notes: attnWeightsNotes,
    factors: [{ plus: ['end_item'], minus: ['first_item'] }, 'n_kv_heads'],
    jobInvocations: 'workgroup',
  },
  append_kv: {
    kernel: appendKv,
    notes: appendKvNotes,
    factors: ['n_items', 'item_tokens', 'token_octets'],
    jobInvocations: 1,
  },
  append_quantised: {
    kernel: appendQuantised,
    notes: appendQuantisedNotes,
    factors: ['n_items', 'item_tokens', 'token_octets'],
    jobInvocations: 1,
  },
  turn_heads: {
    kernel: turnHeads,
    notes: turnHeadsNotes,
    factors: ['n_items', 'item_tokens', 'token_octets'],
    jobInvocations: 1,
  },
  merge_states: {
    kernel: mergeStates,
    notes: mergeStatesNotes,
    factors: ['n_items', 'n_heads', 'row_blocks', 'part_lanes'],
    jobInvocations: constantOf(mergeStates, 'QUAD_LANES'),
  },
  copy_pages: {
    kernel: copyPages,
    notes: copyPagesNotes,
    factors: ['n_pools', 'page_units'],
    jobInvocations: 1,
  },
  gather_lengths: {
    kernel: gatherLengths,
    notes: gatherLengthsNotes,
    factors: [{ plus: ['batch', 'n_item_words'] }],
    jobInvocations: 1,
  },
  gather_heads: {
    kernel: gatherHeads,
    notes: gatherHeadsNotes,
    factors: [{ plus: ['slopes_at', 'n_slopes', 'n_sinks', 'n_scales', 'n_scales', 'n_item_words'] }],
    jobInvocations: 1,
  },
  gather_tokens: {
    kernel: gatherTokens,
    notes: gatherTokensNotes,
    factors: ['batch'],
    jobInvocations: 'workgroup',
  },
};

/** Has `Sequence`, which gather_heads and gather_tokens copy or change without having the struct. */
export const BATCH_INFO: { readonly modules: readonly WgslModule[]; readonly notes: WgslNotes } = {
  modules: [batchInfo],
  notes: batchInfoNotes,
};
