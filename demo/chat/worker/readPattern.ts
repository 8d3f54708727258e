import type { Pattern, PatternChoice } from '../protocol.js';
import type { LoadedModel } from './engineHost.js';

/** Computes what the tokens of a conversation look at, and writes out these tokens. */
export async function readPattern(
  { engine, codec }: LoadedModel,
  tokens: readonly number[],
  { layer, head }: PatternChoice,
): Promise<Pattern> {
  // So that answers on their way do not wait for a compiler.
  await engine.preparePattern();
  const { weights, firstRow } = await engine.attentionPattern(tokens, { layer, head });
  const textOf = (token: number): string =>
    codec.decode([token], { skipSpecial: false, isContinuation: true });
  return { tokens: tokens.map(textOf), weights, firstRow };
}
