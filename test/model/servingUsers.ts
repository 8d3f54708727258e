import type { PageManager } from '../../src/paging/pageManager.js';
import type { Step } from '../../src/paging/planner/step.js';
import type { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import type { Random } from '../../tools/random.js';

export interface ServingUsersArgs {
  readonly pages: PageManager;
  readonly planner: StepPlanner;
  readonly random: Random;
  readonly vocabSize: number;
}

interface Conversation {
  readonly tokens: number[];
  /** Tokens to sample. */
  nLeft: number;
  /** Tokens at the end that are guesses. */
  nDrafts: number;
}

/** Users who ask, fork, go back and leave, and an engine that speculates, as the seed has it. */
export class ServingUsers {
  readonly nTimes = { forked: 0, rejected: 0, truncated: 0 };
  readonly #args: ServingUsersArgs;
  readonly #systemPrompt: readonly number[];
  readonly #conversations = new Map<number, Conversation>();

  constructor(args: ServingUsersArgs) {
    this.#args = args;
    this.#systemPrompt = this.#anyTokens(N_SYSTEM_TOKENS);
  }

  /** Sequences that are not at their end. */
  get sequences(): number[] {
    return [...this.#conversations.keys()];
  }

  tokensOf(sequence: number): readonly number[] {
    return this.#conversations.get(sequence)!.tokens;
  }

  /** So many users ask the same at once. */
  ask(nUsers: number): void {
    const { planner, random } = this.#args;
    const tokens = [...this.#systemPrompt, ...this.#anyTokens(random.int(2, 20))];
    for (let user = 0; user < nUsers; user++) {
      const id = planner.add({ tokens, priority: random.int(0, 3) });
      this.#conversations.set(id, { tokens: [...tokens], nLeft: random.int(5, 15), nDrafts: 0 });
    }
  }

  /** `next(row)` is the most likely token after the one in that row of the step. */
  answer(step: Step, next: (row: number) => number): void {
    const { pages, planner, random } = this.#args;
    const sampled = Array.from(step.sampled);
    const conversations = sampled.map((id) => this.#conversations.get(id)!);
    const nRejected = conversations.map(({ nDrafts }, i) => {
      // Those that an earlier step has computed are past doubt.
      const { nInFlight } = pages.sequence(sampled[i]!);
      return random.int(0, Math.min(nDrafts, nInFlight - 1) + 1);
    });
    const tokens = sampled.map((_, i) => next(step.sampledRows[i]! - nRejected[i]!));
    planner.commit(tokens, nRejected);
    conversations.forEach((conversation, i) => {
      conversation.tokens.splice(conversation.tokens.length - nRejected[i]!);
      conversation.tokens.push(tokens[i]!);
      conversation.nDrafts = 0;
      conversation.nLeft--;
      if (nRejected[i]! > 0) this.nTimes.rejected++;
      this.#goOn(sampled[i]!, conversation);
    });
  }

  #goOn(id: number, conversation: Conversation): void {
    const { random, planner } = this.#args;
    if (conversation.nLeft === 0) {
      planner.finish(id);
      this.#conversations.delete(id);
      return;
    }
    const chance = random.uniform();
    if (chance < 0.04) this.#fork(id, conversation);
    else if (chance < 0.08) this.#goBack(id, conversation);
    else if (chance < 0.25) this.#draft(id, conversation);
  }

  /** Another answer, which differs from the last token on. */
  #fork(id: number, { tokens, nLeft }: Conversation): void {
    const fork = this.#args.planner.fork(id, tokens.length - 1);
    const conversation = { tokens: tokens.slice(0, -1), nLeft, nDrafts: 0 };
    this.#conversations.set(fork, conversation);
    this.#append(fork, conversation, [this.#otherToken(tokens.at(-1)!)]);
    this.nTimes.forked++;
  }

  /** The user takes back some tokens and says something else. */
  #goBack(id: number, conversation: Conversation): void {
    const { random, planner } = this.#args;
    const nTokens = conversation.tokens.length - random.int(1, 8);
    const token = this.#otherToken(conversation.tokens[nTokens]!);
    planner.truncate(id, nTokens);
    conversation.tokens.splice(nTokens);
    this.#append(id, conversation, [token]);
    this.nTimes.truncated++;
  }

  #draft(id: number, conversation: Conversation): void {
    conversation.nDrafts = this.#args.random.int(1, 4);
    this.#append(id, conversation, this.#anyTokens(conversation.nDrafts));
  }

  #append(id: number, { tokens }: Conversation, more: readonly number[]): void {
    this.#args.planner.append(id, more);
    tokens.push(...more);
  }

  #anyTokens(n: number): number[] {
    return Array.from({ length: n }, () => this.#args.random.int(0, this.#args.vocabSize));
  }

  #otherToken(token: number): number {
    return (token + 1) % this.#args.vocabSize;
  }
}

/** No whole number of pages. */
const N_SYSTEM_TOKENS = 26;
