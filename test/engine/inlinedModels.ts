import { refuse } from '../../demo/engine/engineError.js';
import type { ModelFiles } from '../../demo/engine/files/modelFiles.js';
import { roundTo } from '../../src/core/dtype.js';
import { rotaryTables } from '../../src/index.js';
import { tensorsOfFile } from './memoryFiles.js';

// The models of the tests as part of the program, so that they are there on every platform.

const urls = import.meta.glob<string>(
  [
    '../golden/models/*/*',
    '../../demo/model/{config,generation_config,golden}.json',
    '../../demo/model/*.safetensors',
  ],
  { query: '?url&inline', import: 'default' },
);

async function bytesOf(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const url = await urls[path]?.();
  return url === undefined ? undefined : new Uint8Array(await (await fetch(url)).arrayBuffer());
}

/** The files of a folder. `edit` may change its config.json. */
function inlinedFiles(folder: string, edit: (config: Config) => Config = (config) => config): ModelFiles {
  const read = (file: string): Promise<Uint8Array<ArrayBuffer> | undefined> => bytesOf(`${folder}/${file}`);
  return {
    name: folder,
    async text(file) {
      const bytes = await read(file);
      if (!bytes) return undefined;
      const text = new TextDecoder().decode(bytes);
      return file === 'config.json' ? JSON.stringify(edit(JSON.parse(text) as Config)) : text;
    },
    size: async (file) => (await read(file))?.length,
    read: async (file, start, end) => (await read(file))?.slice(start, end) ?? refuse(`There is no ${file}.`),
  };
}

/** The model that the repository ships. */
export const shippedModel = inlinedFiles('../../demo/model');

interface ShippedGolden {
  readonly cases: readonly {
    readonly ids: readonly number[];
    readonly generated: readonly number[];
    readonly firstLogits: readonly number[];
  }[];
}

export async function shippedGolden(): Promise<ShippedGolden> {
  return JSON.parse((await shippedModel.text('golden.json'))!) as ShippedGolden;
}

type Config = Readonly<Record<string, unknown>>;
type Rope = Readonly<Record<string, unknown>>;

export const FAMILIES = [
  'llama3',
  'llama_mha',
  'mistral_window',
  'qwen2',
  'qwen3',
  'gemma2',
  'gemma3',
] as const;
export type GoldenFamily = (typeof FAMILIES)[number];

/** A tiny random model of a family, with what transformers makes of it in f64. */
export interface GoldenModel {
  /** As it is. */
  readonly files: ModelFiles;
  /** With the angles that the results were computed with: see `withAnglesOfF16`. */
  readonly filesOfGolden: ModelFiles;
  /** [70] */
  readonly ids: readonly number[];
  /** [70, vocabSize] */
  readonly logits: Float64Array;
  /** [24]: the most likely tokens that follow */
  readonly greedy: readonly number[];
}

export async function goldenModel(family: GoldenFamily): Promise<GoldenModel> {
  const folder = `../golden/models/${family}`;
  const tensors = readTensors((await bytesOf(`${folder}/golden.safetensors`))!);
  return {
    files: inlinedFiles(folder),
    filesOfGolden: inlinedFiles(folder, withAnglesOfF16),
    ids: [...tensors('ids')],
    logits: Float64Array.from(tensors('logits')),
    greedy: [...tensors('greedy')],
  };
}

/** The frequencies of a model that was converted to f16 as a whole are rounded to f16, as those of these models are. */
function withAnglesOfF16(config: Config): Config {
  const {
    rope_parameters: rope,
    head_dim: dim,
    hidden_size: size,
    num_attention_heads: heads,
  } = config as {
    rope_parameters: Rope;
    head_dim?: number;
    hidden_size: number;
    num_attention_heads: number;
  };
  const headDim = dim ?? size / heads;
  const rounded = (one: Rope): Rope => {
    const theta = Number(one['rope_theta']);
    const tables = rotaryTables({ config: { head_dim: headDim, rope_parameters: one }, maxPositions: 2 });
    const factors = Array.from({ length: headDim / 2 }, (_, i) => {
      // The angle of position 1 is the frequency.
      const at = headDim / 2 + i;
      const frequency = Math.atan2(tables.rotarySin[at]!, tables.rotaryCos[at]!);
      return theta ** ((-2 * i) / headDim) / roundTo('f16', frequency);
    });
    const lengths = { original_max_position_embeddings: config['max_position_embeddings'], factor: 1 };
    const lists = { long_factor: factors, short_factor: factors, attention_factor: 1 };
    return { rope_type: 'longrope', rope_theta: theta, ...lists, ...lengths };
  };
  const { full_attention: full, sliding_attention: sliding } = rope as Readonly<Record<string, Rope>>;
  const changed =
    full && sliding ? { full_attention: rounded(full), sliding_attention: rounded(sliding) } : rounded(rope);
  return { ...config, rope_parameters: changed };
}

/** The tensors of a safetensors file as numbers. */
function readTensors(file: Uint8Array): (name: string) => number[] {
  const tensors = tensorsOfFile(file);
  return (name) => {
    const { dtype, bytes } = tensors[name]!;
    if (dtype === 'F64') return [...new Float64Array(bytes.buffer)];
    if (dtype === 'F32') return [...new Float32Array(bytes.buffer)];
    if (dtype === 'I64') return Array.from(new BigInt64Array(bytes.buffer), Number);
    if (dtype === 'I32') return [...new Int32Array(bytes.buffer)];
    throw new Error(`${name} is of ${dtype}.`);
  };
}
