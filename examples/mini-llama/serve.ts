import { PageManager, StepPlanner, type AddArgs, type SequenceId } from 'pageflash';
import { createAttention, type Attention, type AttentionArgs } from './attention.js';
import { argmax } from './layers.js';
import { forward, logitsOf } from './llama.js';
import type { LlamaWeights } from './weights.js';

export interface ServerOptions extends AttentionArgs {
  /** What becomes of the pages of a sequence that gives way to others: `'swap'` keeps them in host memory. */
  readonly preempt?: 'recompute' | 'swap';
  readonly nHostPages?: number;
}

/** What follows a prompt: one more token each time that its sequence is sampled, up to `maxNewTokens`. */
export interface Answer {
  readonly sequence: SequenceId;
  readonly tokens: number[];
  readonly maxNewTokens: number;
}

/** Answers many prompts at once, which come, fork and end between any two steps. */
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

  /** Free what is the server's own; the cache is not. */
  destroy(): void {
    this.#attention.destroy();
  }

  ask({ maxNewTokens, ...prompt }: AddArgs & { readonly maxNewTokens: number }): Answer {
    const nPositions = this.#llama.config.max_position_embeddings;
    if (prompt.tokens.length + maxNewTokens > nPositions)
      throw new Error(`The model has ${nPositions} positions, too few for this prompt and its answer.`);
    return this.#follow({ sequence: this.#planner.add(prompt), tokens: [], maxNewTokens });
  }

  /** Another answer, which goes on from the last token of this one, or from `token` in its place. */
  fork({ sequence, tokens, maxNewTokens }: Answer, token = tokens.at(-1)): Answer {
    if (token === undefined)
      throw new Error('An answer without a token cannot be forked. Ask again instead.');
    const fork = this.#planner.fork(sequence, this.pages.sequence(sequence).nTokens - 1);
    this.#planner.append(fork, [token]);
    return this.#follow({ sequence: fork, tokens: [...tokens.slice(0, -1), token], maxNewTokens });
  }

  /** Compute what comes next, in as many sequences as fit. False if there is nothing to compute. */
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
