import { checkChoice, checkFlags } from '../core/checkArguments.js';
import { copyPagesSpec } from '../kernels/copyPages.js';
import { MERGE_KINDS, mergeSpec, mergeTile, readsChunks } from '../kernels/mergeStates.js';
import { hasMultiplesOf } from '../kernels/shared/elements.js';
import { ATTENTION_CHOICES, problemOf } from './attentionChoices.js';
import { TOKEN_CHOICES } from './tokenChoices.js';
import { NO_TILE, rows, type Choices } from './choice.js';
import type { KernelName } from './options.js';

/** All kernels. */
export const CHOICES: Choices<KernelName> = {
  ...ATTENTION_CHOICES,
  ...TOKEN_CHOICES,

  merge_states(caller, options, traits) {
    const { headDim, dtype, parts = 'chunks', unaligned = false } = options;
    const { out } = problemOf(caller, options);
    checkFlags(caller, { unaligned });
    checkChoice(caller, 'parts', parts, MERGE_KINDS);
    const outWide = !unaligned && hasMultiplesOf(4, out, headDim);
    const wide = readsChunks(parts) || (!unaligned && hasMultiplesOf(8, out, headDim));
    const spec = mergeSpec(mergeTile(traits, parts), { kind: parts, wide, outDType: dtype, outWide });
    const read = readsChunks(parts) ? rows('f32', 4) : { alignment: wide ? 16 : 2 };
    const written = { out: rows(dtype, outWide ? 4 : 1), lse: rows('f32') };
    return { spec, stored: { a_out: read, b_out: read, ...written }, ...NO_TILE };
  },

  copy_pages(caller, { unaligned = false }) {
    checkFlags(caller, { unaligned });
    return {
      spec: copyPagesSpec(!unaligned),
      stored: { memory: { alignment: unaligned ? 4 : 16 } },
      ...NO_TILE,
    };
  },

  gather_lengths: () => ({ spec: {}, stored: {}, ...NO_TILE }),
  gather_heads: () => ({ spec: {}, stored: {}, ...NO_TILE }),
  gather_tokens: () => ({ spec: {}, stored: {}, ...NO_TILE }),
};
