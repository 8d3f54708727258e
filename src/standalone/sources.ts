import type { Kernel, WgslNotes, WgslRecords } from '../wgsl/kernel.js';
import appendKv from '../kernels/append_kv.wgsl';
import appendKvNotes from '../kernels/append_kv.wgsl?notes';
import appendKvRecords from '../kernels/append_kv.wgsl?records';
import attnDecode from '../kernels/attn_decode.wgsl';
import attnDecodeNotes from '../kernels/attn_decode.wgsl?notes';
import attnDecodeRecords from '../kernels/attn_decode.wgsl?records';
import attnPrefill from '../kernels/attn_prefill.wgsl';
import attnPrefillNotes from '../kernels/attn_prefill.wgsl?notes';
import attnPrefillRecords from '../kernels/attn_prefill.wgsl?records';
import copyPages from '../kernels/copy_pages.wgsl';
import copyPagesNotes from '../kernels/copy_pages.wgsl?notes';
import copyPagesRecords from '../kernels/copy_pages.wgsl?records';
import gatherHeads from '../kernels/gather_heads.wgsl';
import gatherHeadsNotes from '../kernels/gather_heads.wgsl?notes';
import gatherHeadsRecords from '../kernels/gather_heads.wgsl?records';
import gatherLengths from '../kernels/gather_lengths.wgsl';
import gatherLengthsNotes from '../kernels/gather_lengths.wgsl?notes';
import gatherLengthsRecords from '../kernels/gather_lengths.wgsl?records';
import mergeStates from '../kernels/merge_states.wgsl';
import mergeStatesNotes from '../kernels/merge_states.wgsl?notes';
import mergeStatesRecords from '../kernels/merge_states.wgsl?records';
import sequencesNotes from '../kernels/shared/sequences.wgsl?notes';
import sequencesRecords from '../kernels/shared/sequences.wgsl?records';
import type { FactorInShort } from './gridRule.js';
import type { KernelName } from './options.js';

/** A kernel with what the build read of its source. */
export interface Source {
  readonly kernel: Kernel;
  readonly records: WgslRecords;
  readonly notes: WgslNotes;
  /** The product is the number of jobs of a dispatch. */
  readonly factors: readonly FactorInShort[];
  /** What takes one job. */
  readonly jobsPer: 'workgroup' | 'invocation';
}

export const SOURCES: Readonly<Record<KernelName, Source>> = {
  attn_prefill: {
    kernel: attnPrefill,
    records: attnPrefillRecords,
    notes: attnPrefillNotes,
    factors: [{ plus: ['n_items'], minus: ['first_item'] }, 'n_kv_heads'],
    jobsPer: 'workgroup',
  },
  attn_decode: {
    kernel: attnDecode,
    records: attnDecodeRecords,
    notes: attnDecodeNotes,
    factors: [{ plus: ['n_items'], minus: ['first_item'] }, 'n_kv_heads'],
    jobsPer: 'workgroup',
  },
  append_kv: {
    kernel: appendKv,
    records: appendKvRecords,
    notes: appendKvNotes,
    factors: ['n_items', 'n_heads', { plus: ['head_dim'], dividedBy: 2 }],
    jobsPer: 'invocation',
  },
  merge_states: {
    kernel: mergeStates,
    records: mergeStatesRecords,
    notes: mergeStatesNotes,
    factors: ['n_items', 'n_heads', 'head_quads'],
    jobsPer: 'invocation',
  },
  copy_pages: {
    kernel: copyPages,
    records: copyPagesRecords,
    notes: copyPagesNotes,
    factors: ['n_pools', 'page_units'],
    jobsPer: 'invocation',
  },
  gather_lengths: {
    kernel: gatherLengths,
    records: gatherLengthsRecords,
    notes: gatherLengthsNotes,
    factors: ['batch'],
    jobsPer: 'invocation',
  },
  gather_heads: {
    kernel: gatherHeads,
    records: gatherHeadsRecords,
    notes: gatherHeadsNotes,
    factors: [{ plus: ['slopes_at', 'n_slopes', 'n_sinks'] }],
    jobsPer: 'invocation',
  },
};

/** Of `Sequence`, which the gathering kernels write without having the struct. */
export const SEQUENCES = { records: sequencesRecords, notes: sequencesNotes } as const;
