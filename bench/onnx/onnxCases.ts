import type { CaseOptions } from '../cases/cases.js';
import type { OnnxDType, Operator } from './attentionModels.js';

/** A step of one sequence: its new tokens are appended to a cache, and attend to all keys up to their own. */
export interface OnnxCase {
  readonly operator: Operator;
  readonly kind: 'prefill' | 'decode';
  readonly dtype: OnnxDType;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  /** New tokens: all keys of a prompt, one of a decode step. */
  readonly nTokens: number;
  /** The keys in the cache after the step. */
  readonly nKeys: number;
}

/** The cases that are run beside onnxruntime-web, which compiles for minutes on software adapters: one model there. */
export function onnxCases({ software, dtype, quick, full }: Omit<CaseOptions, 'shapes'>): OnnxCase[] {
  const models = software && !full ? SOFTWARE_MODELS : MODELS;
  const lengths = quick ? QUICK_LENGTHS : LENGTHS;
  const ofRun: OnnxDType = dtype === 'bf16' ? 'f16' : dtype;
  return OPERATORS_AND_DTYPES.flatMap(({ operator, only }) =>
    models.flatMap((model) => [
      ...lengths.prefill.map((nTokens): OnnxCase => {
        return { operator, kind: 'prefill', dtype: only ?? ofRun, ...model, nTokens, nKeys: nTokens };
      }),
      ...lengths.decode.map((nKeys): OnnxCase => {
        return { operator, kind: 'decode', dtype: only ?? ofRun, ...model, nTokens: 1, nKeys };
      }),
    ]),
  );
}

/** Its paged attention takes f16 only, whatever the other rows have. */
const OPERATORS_AND_DTYPES: readonly { readonly operator: Operator; readonly only?: OnnxDType }[] = [
  { operator: 'GroupQueryAttention' },
  { operator: 'PagedAttention', only: 'f16' },
];

const LENGTHS = { prefill: [512, 1024, 2048], decode: [2048, 4096, 8192, 16384] };
const QUICK_LENGTHS = { prefill: [512], decode: [2048] };

/** Llama-3-8B and Llama-3.2-1B. */
const MODELS = [
  { nHeads: 32, nKvHeads: 8, headDim: 128 },
  { nHeads: 32, nKvHeads: 8, headDim: 64 },
];
/** Llama-3.2-1B with a quarter of its heads. */
const SOFTWARE_MODELS = [{ nHeads: 8, nKvHeads: 2, headDim: 64 }];

/** Such as `GroupQueryAttention 8/2×64 f32, prompt of 512`. */
export function onnxCaseName(onnxCase: OnnxCase): string {
  const { operator, nHeads, nKvHeads, headDim, dtype } = onnxCase;
  return `${operator} ${nHeads}/${nKvHeads}×${headDim} ${dtype}, ${onnxLengthOf(onnxCase)}`;
}

/** Such as `prompt of 512` or `2048 keys`. */
export function onnxLengthOf({ kind, nKeys }: OnnxCase): string {
  return kind === 'prefill' ? `prompt of ${nKeys}` : `${nKeys} keys`;
}
