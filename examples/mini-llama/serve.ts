import { PageManager, StepPlanner, type AddArgs, type SequenceId } from 'pageflash';
import { createAttention, type Attention, type AttentionArgs } from './attention.js';
import { argmax } from './layers.js';
import { forward, logitsOf } from './llama.js';
import type { LlamaWeights } from './weights.js';

export interface ServerOptions extends AttentionArgs {
  /** How a sequence is preempted: its tokens are computed again later, or its pages are swapped to host memory. */
  readonly preempt?: 'recompute' | 'swap';
  readonly nHostPages?: number;
}

/** The answer to a prompt. It gets a token each time its sequence is sampled, up to `maxNewTokens`. */
export interface Answer {
  readonly sequence: SequenceId;
  readonly tokens: number[];
  readonly maxNewTokens: number;
}

/** Answers many prompts at once. Between any two steps, prompts may be added and answers forked. */
export class Server {
  readonly pages: PageManager;
  readonly #llama: LlamaWeights;
  readonly #planner: StepPlanner;
  readonly #attention: Attention;
  readonly #answers = new Map<SequenceId, Answer>();

  constructor({ preempt = 'recompute', nHostPages = 0, ...args }: ServerOptions) {
    const { nPages, pageSize } = args.cache;
    const { maxTokens } = args;
    this.pages = new PageManager({ nPages, pageSize, nHostPages });
    this.#planner = new StepPlanner({ pages: this.pages, maxTokens, maxSequences: maxTokens, preempt });
    this.#attention = createAttention(args);
    this.#llama = args.llama;
  }

  /** Free the server's memory on the GPU. The cache belongs to the caller. */
  destroy(): void {
    this.#attention.destroy();
  }

  /** Queue a prompt. The answer's tokens are filled in by later steps. */
  ask({ maxNewTokens, ...prompt }: AddArgs & { readonly maxNewTokens: number }): Answer {
    const nPositions = this.#llama.config.max_position_embeddings;
    if (prompt.tokens.length + maxNewTokens > nPositions)
      throw new Error(`The model has ${nPositions} positions, too few for this prompt and its answer.`);
    return this.#follow({ sequence: this.#planner.add(prompt), tokens: [], maxNewTokens });
  }

  /** Fork an answer: the new one continues from the last token of this one, or from `token` in its place. */
  fork({ sequence, tokens, maxNewTokens }: Answer, token = tokens.at(-1)): Answer {
    if (token === undefined)
      throw new Error('An answer without a token cannot be forked. Ask again instead.');
    const fork = this.#planner.fork(sequence, this.pages.sequence(sequence).nTokens - 1);
    this.#planner.append(fork, [token]);
    return this.#follow({ sequence: fork, tokens: [...tokens.slice(0, -1), token], maxNewTokens });
  }

  /** Run one step over as many sequences as fit. Returns false if there is nothing to compute. */
  async step(): Promise<boolean> {
    const step = this.#planner.plan();
    if (step === 'idle') return false;
    if (step === 'full') throw new Error('A sequence does not fit into the cache, not even alone.');
    const attend = await this.#attention.begin(step);
    const hidden = await forward(this.#llama, step.tokens, attend);
    const sampled = Array.from(step.sampledRows, (row) => argmax(logitsOf(this.#llama, hidden, row)));
    this.#planner.commit(sampled);
    step.sampled.forEach((sequence, i) => this.#grow(this.#answers.get(sequence)!, sampled[i]!));
    return true;
  }

  #follow(answer: Answer): Answer {
    this.#answers.set(answer.sequence, answer);
    return answer;
  }

  #grow({ sequence, tokens, maxNewTokens }: Answer, token: number): void {
    tokens.push(token);
    if (tokens.length < maxNewTokens) return;
    this.#planner.finish(sequence);
    this.#answers.delete(sequence);
  }
}
