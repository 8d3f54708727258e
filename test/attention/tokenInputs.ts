import type { Random } from '../../tools/random.js';
import { runningSum } from './caseInputs.js';

/** What a case says of its query tokens. */
export interface TokensCase {
  /**
   * `their own`: where they stand anyway. `rising`: with steps of zero and of several. `any`: in no order. Behind the end of
   * sequences they are no positions at all.
   */
  readonly positions?: 'their own' | 'rising' | 'any' | undefined;
  /**
   * `chain`: each token sees those before it and itself. `branches`: its ancestors in a random tree, but for some tokens that
   * none sees.
   */
  readonly tree?: 'chain' | 'branches' | undefined;
}

export interface TokenInputs {
  readonly positions?: Int32Array;
  readonly treeMask?: Uint32Array;
}

/** Positions below `limit`, [rows, tokens], and a tree of sequences with so many queries and keys. */
export function drawTokens(
  random: Random,
  { positions, tree }: TokensCase,
  lengths: readonly (readonly [sq: number, sk: number])[],
  { rows = 1, limit = Infinity }: { readonly rows?: number; readonly limit?: number } = {},
): TokenInputs {
  return {
    ...(positions && {
      positions: Int32Array.from(
        Array.from({ length: rows }, () =>
          lengths.flatMap(([sq, sk]) => positionsOf(random, positions, sq, sk, limit)),
        ).flat(),
      ),
    }),
    ...(tree && { treeMask: drawTree(random, tree, lengths) }),
  };
}

function positionsOf(
  random: Random,
  kind: NonNullable<TokensCase['positions']>,
  sq: number,
  sk: number,
  limit: number,
): number[] {
  const within = (position: number): number =>
    Math.min(Math.max(position, limit < Infinity ? 0 : position), limit - 1);
  if (kind === 'their own') return Array.from({ length: sq }, (_, i) => within(sk - sq + i));
  if (kind === 'any') return Array.from({ length: sq }, () => within(random.int(-5, sk + 5)));
  let position = sk - sq + random.int(-3, 3);
  return Array.from({ length: sq }, () => within((position += random.pick([0, 0, 1, 1, 1, 2, 7]))));
}

/** A word more than the longest sequence needs, and bits that mean nothing. */
function drawTree(
  random: Random,
  kind: NonNullable<TokensCase['tree']>,
  lengths: readonly (readonly [sq: number, sk: number])[],
): Uint32Array {
  const starts = runningSum(lengths.map(([sq]) => sq));
  const words = Math.ceil(Math.max(...lengths.map(([sq]) => sq)) / 32) + 1;
  const tree = Uint32Array.from({ length: starts.at(-1)! * words }, () => random.int(0, 2 ** 31));
  lengths.forEach(([sq], b) => {
    const seen: Set<number>[] = [];
    const isHidden = Array.from({ length: sq }, () => kind === 'branches' && random.int(0, 6) === 0);
    for (let i = 0; i < sq; i++) {
      const parent = kind === 'chain' ? i - 1 : random.int(-1, i);
      seen.push(new Set([...(seen[parent] ?? []), i]));
      for (let t = 0; t < sq; t++) {
        const at = (starts[b]! + i) * words + Math.floor(t / 32);
        const bit = 1 << (t % 32);
        tree[at] = seen[i]!.has(t) && !isHidden[t] ? tree[at]! | bit : tree[at]! & ~bit;
      }
    }
  });
  return tree;
}
