import { parseArgs } from 'node:util';
import { refuse } from '../engine/engineError.js';
import type { SamplingOptions } from '../engine/kernels/sampling.js';
import type { WeightFormat } from '../engine/model/weightFormats.js';

const USAGE = `npm run generate -- [OPTION...]: text by a language model, on pageflash.
  --model MODEL          a folder, or an id of the Hugging Face hub; default: the small model of this repository.
                         HF_TOKEN is the token for models that are not public, HF_ENDPOINT another hub
  --prompt TEXT          what to answer, or with --raw to continue
  --raw                  without the model's chat template
  --chat                 a conversation in the terminal
  --parallel N           N answers at once, with seeds that follow each other; at a temperature of 0.7 if none is given
  --tokens N             the most tokens of an answer; default 256
  --temperature T --top-k K --top-p P --min-p P --repetition-penalty X --seed N
                         how tokens are chosen; default: the most likely one
  --stop TEXT            ends an answer before this text; may be repeated
  --weights f32|f16|bf16|int8|int4   how weights are stored on the GPU; default: as in the file
  --kv f32|f16|bf16      how keys and values are stored; default f16
  --rotary f32|f16|bf16  what frequencies of rotary embedding are rounded to; default f32, not at all; with --ids the
                         type of the file, as in a model that PyTorch has converted as a whole (model.half())
  --context N            the most tokens of a conversation; default 4096, or what the model knows
  --memory GB            GPU memory that the model may take; default 8
  --speculate N          guess N tokens from the text so far, and check them in one step
  --naive                the same engine on naive attention, to compare with
  --stats                speed, time of each kernel, use of pages
  --ids 5,17,...         token ids as the prompt, without a tokenizer, to compare with PyTorch: everything is computed in f32 then
  --greedy N             with --ids: print the N most likely tokens that follow
  --logits FILE          with --ids: write logits of the prompt, f32 [tokens, vocabulary]`;

const WEIGHTS: Readonly<Record<string, WeightFormat>> = {
  f32: 'f32',
  f16: 'f16',
  bf16: 'bf16',
  int8: 'i8',
  int4: 'i4',
};

export interface GenerateCommand {
  readonly model: string | undefined;
  readonly prompt: string | undefined;
  readonly isRaw: boolean;
  readonly isChat: boolean;
  readonly nAnswers: number;
  readonly maxNewTokens: number;
  readonly sampling: SamplingOptions;
  readonly stops: readonly string[];
  readonly weights: WeightFormat | undefined;
  readonly kvType: 'f32' | 'f16' | 'bf16' | undefined;
  readonly rotaryType: 'f32' | 'f16' | 'bf16' | undefined;
  readonly context: number | undefined;
  readonly budgetBytes: number;
  readonly nDrafts: number;
  readonly isNaive: boolean;
  readonly hasStats: boolean;
  readonly ids: readonly number[] | undefined;
  readonly greedy: number;
  readonly logits: string | undefined;
}

/**
 * Reads the command line. Returns what to print instead, if that is asked for.
 *
 * @throws EngineError for an option that does not exist, or has no such value
 */
export function readOptions(args: readonly string[]): GenerateCommand | string {
  const { values } = parse(args);
  if (values.help) return USAGE;
  const number = (name: string, text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value)) refuse(`--${name} must be a number, not ${text}.`);
    return value;
  };
  const count = (name: keyof typeof values & string, fallback: number): number => {
    const value = number(name, values[name] as string | undefined) ?? fallback;
    if (!Number.isInteger(value) || value < 0) refuse(`--${name} must be a count, not ${value}.`);
    return value;
  };
  const isByIds = values.ids !== undefined;
  for (const name of ['greedy', 'logits'] as const)
    if (values[name] !== undefined && !isByIds) refuse(`--${name} needs --ids.`);
  for (const name of ['prompt', 'chat', 'raw', 'parallel', 'kv', 'stop', 'speculate'] as const)
    if (values[name] !== undefined && isByIds) refuse(`--${name} and --ids exclude each other.`);
  if (values.chat && values.raw) refuse('--chat and --raw exclude each other.');
  if (values.naive && values.kv === 'bf16') refuse('--naive keeps keys and values in f32 or f16.');
  const nAnswers = count('parallel', 1);
  if (nAnswers < 1) refuse('--parallel must be at least 1.');
  if (values.chat && nAnswers > 1) refuse('--chat and --parallel exclude each other.');
  return {
    model: values.model,
    prompt: values.prompt,
    isRaw: values.raw ?? false,
    isChat: values.chat ?? false,
    nAnswers,
    maxNewTokens: count('tokens', 256),
    sampling: {
      temperature: number('temperature', values.temperature) ?? (nAnswers > 1 ? 0.7 : undefined),
      topK: number('top-k', values['top-k']),
      topP: number('top-p', values['top-p']),
      minP: number('min-p', values['min-p']),
      repetitionPenalty: number('repetition-penalty', values['repetition-penalty']),
      seed: number('seed', values.seed),
    },
    stops: values.stop ?? [],
    weights: isByIds && values.weights === undefined ? 'f32' : weightsOf(values.weights),
    kvType: isByIds ? 'f32' : floatOf('kv', values.kv),
    rotaryType: floatOf('rotary', values.rotary),
    context: values.context === undefined ? undefined : count('context', 0),
    budgetBytes: (number('memory', values.memory) ?? 8) * 1e9,
    nDrafts: count('speculate', 0),
    isNaive: values.naive ?? false,
    hasStats: values.stats ?? false,
    ids: values.ids?.split(',').map((id) => {
      const value = Number(id);
      if (id.trim() === '' || !Number.isInteger(value) || value < 0)
        refuse(`--ids has ${id}, which is no token id.`);
      return value;
    }),
    greedy: count('greedy', 0),
    logits: values.logits,
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        model: text,
        prompt: text,
        raw: flag,
        chat: flag,
        parallel: text,
        tokens: text,
        temperature: text,
        'top-k': text,
        'top-p': text,
        'min-p': text,
        'repetition-penalty': text,
        seed: text,
        stop: { type: 'string', multiple: true },
        weights: text,
        kv: text,
        rotary: text,
        context: text,
        memory: text,
        speculate: text,
        naive: flag,
        stats: flag,
        ids: text,
        greedy: text,
        logits: text,
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    return refuse(`${(error as Error).message.split('. ')[0]}. --help shows what there is.`);
  }
}

function weightsOf(name: string | undefined): WeightFormat | undefined {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(WEIGHTS, name))
    refuse(`--weights must be one of ${Object.keys(WEIGHTS).join(', ')}, not ${name}.`);
  return WEIGHTS[name];
}

function floatOf(option: string, name: string | undefined): 'f32' | 'f16' | 'bf16' | undefined {
  if (name === undefined || name === 'f32' || name === 'f16' || name === 'bf16') return name;
  return refuse(`--${option} must be f32, f16 or bf16, not ${name}.`);
}
