import { refuse } from '../../demo/engine/engineError.js';
import type { ModelFiles } from '../../demo/engine/files/modelFiles.js';
import { fromHalves } from '../../src/index.js';
import {
  MemoryFiles,
  concatenated,
  safetensorsBytes,
  tensorsOfFile,
  type MadeTensor,
} from './memoryFiles.js';

// A Phi-3 computes what a Llama does, or with a window a Mistral, but stores q, k and v as one matrix, gate and up as
// another, and has LongRoPE with a factor on the angles. So a Phi-3 can be made of one of these whose results are known.

export interface Phi3Options {
  /** `original_max_position_embeddings`: in longer contexts angles are by `long_factor`. */
  readonly originalPositions: number;
  /** `max_position_embeddings` */
  readonly positions: number;
  /** The list of factors with which results are known; the other one is of wrong numbers. */
  readonly right: 'long_factor' | 'short_factor';
}

/**
 * Returns the files of a Phi-3 with the results of a Llama or Mistral whose angles are those of a LongRoPE without a
 * factor. LongRoPE's own factor multiplies queries and keys, so that queries are divided by its square.
 */
export async function phi3Files(files: ModelFiles, options: Phi3Options): Promise<ModelFiles> {
  const { originalPositions, positions, right } = options;
  const config = JSON.parse((await files.text('config.json'))!) as Config;
  const { rope_parameters: rope, model_type: type, architectures: _, ...rest } = config;
  if (type !== 'llama' && type !== 'mistral') refuse(`A Phi-3 cannot be made of a ${type}.`);
  const factors = rope.long_factor;
  const factor = Math.sqrt(1 + Math.log(positions / originalPositions) / Math.log(originalPositions));
  const size = (await files.size('model.safetensors'))!;
  const tensors = tensorsOfFile(await files.read('model.safetensors', 0, size));
  return new MemoryFiles({
    'config.json': {
      ...rest,
      architectures: ['Phi3ForCausalLM'],
      model_type: 'phi3',
      max_position_embeddings: positions,
      original_max_position_embeddings: originalPositions,
      rope_theta: rope.rope_theta,
      rope_scaling: {
        type: 'longrope',
        long_factor: factors.map(() => 3),
        short_factor: factors.map(() => 0.5),
        [right]: factors,
      },
    },
    'model.safetensors': safetensorsBytes(fused(tensors, factor ** -2)),
  });
}

interface Config extends Readonly<Record<string, unknown>> {
  readonly model_type: string;
  readonly rope_parameters: { readonly rope_theta: number; readonly long_factor: readonly number[] };
}

const QUERY = /self_attn\.q_proj/;
const GATE = /mlp\.gate_proj/;
const OTHER_PARTS = /self_attn\.[kv]_proj|mlp\.up_proj/;

function fused(
  tensors: Readonly<Record<string, MadeTensor>>,
  queryScale: number,
): Record<string, MadeTensor> {
  const result: Record<string, MadeTensor> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const named = (part: string): MadeTensor => inF32(tensors[name.replace(/[a-z]+_proj/, part)]!);
    if (QUERY.test(name))
      result[name.replace('q_proj', 'qkv_proj')] = rowsOf([
        scaled(inF32(tensor), queryScale),
        named('k_proj'),
        named('v_proj'),
      ]);
    else if (GATE.test(name))
      result[name.replace('gate_proj', 'gate_up_proj')] = rowsOf([inF32(tensor), named('up_proj')]);
    else if (!OTHER_PARTS.test(name)) result[name] = tensor;
  }
  return result;
}

function rowsOf(parts: readonly MadeTensor[]): MadeTensor {
  const nRows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
  return {
    dtype: 'F32',
    shape: [nRows, parts[0]!.shape[1]!],
    bytes: concatenated(parts.map(({ bytes }) => bytes)),
  };
}

function inF32({ shape, bytes }: MadeTensor): MadeTensor {
  return {
    dtype: 'F32',
    shape,
    bytes: new Uint8Array(fromHalves('f16', new Uint16Array(bytes.buffer)).buffer),
  };
}

function scaled({ dtype, shape, bytes }: MadeTensor, scale: number): MadeTensor {
  return { dtype, shape, bytes: new Uint8Array(new Float32Array(bytes.buffer).map((x) => x * scale).buffer) };
}
