import { describe } from '../core/errors.js';
import { isTensor } from '../core/tensor.js';
import type { AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import type { HostLengths, Rotary, RotarySections, TokenLayout } from '../problem/attentionProblem.js';
import { firstTokenOf } from '../problem/tokenMasks.js';
import { isCounts, type Call } from './call.js';

type SectionArgs = Pick<
  AttnWithKvCacheArgs,
  'positions' | 'rotarySections' | 'rotarySectionsInterleaved' | 'rotaryCos'
>;

/** Refuses sections of a rotary embedding without what they need. */
export function checkSectionArgs(call: Call, args: SectionArgs): void {
  const { positions, rotarySections, rotarySectionsInterleaved, rotaryCos } = args;
  call.flag('rotarySectionsInterleaved', rotarySectionsInterleaved);
  if (rotarySections === undefined) {
    if (rotarySectionsInterleaved !== undefined)
      call.refuse('argument', 'rotarySectionsInterleaved is given, but no rotarySections.');
    return;
  }
  if (rotaryCos === undefined)
    call.refuse('argument', 'rotarySections is given, but neither rotaryCos nor rotarySin.');
  if (positions === undefined)
    call.refuse(
      'argument',
      'rotarySections needs positions: three for each query, [3, totalQ] or [3, B, Sq].',
    );
}

/** The sections of a rotary embedding of so many pairs; null if it has none. */
export function sectionsOf(call: Call, args: SectionArgs, pairs: number): RotarySections | null {
  const { rotarySections, rotarySectionsInterleaved = false } = args;
  if (rotarySections === undefined) return null;
  if (!isCounts(rotarySections, 3) || rotarySections.reduce((sum, n) => sum + n, 0) !== pairs)
    call.refuse(
      'argument',
      `rotarySections must be [time, height, width], whole numbers ≥ 0 whose sum is rotaryDim / 2 = ${pairs}, not ${describe(rotarySections)}.`,
    );
  const [time, height, width] = rotarySections as readonly [number, number, number];
  // Their last pairs are 3 · height − 2 and 3 · width − 1.
  if (rotarySectionsInterleaved && Math.max(3 * height - 2, 3 * width - 1) >= pairs)
    call.refuse(
      'argument',
      `rotarySections ${describe(rotarySections)} cannot be interleaved: every third of ${pairs} pairs is not enough for height and width. Leave out rotarySectionsInterleaved.`,
    );
  return { pairs: [time, height, width], interleaved: rotarySectionsInterleaved };
}

/** Checks that there is a rotation for the positions of each query, and so for those of each new key. */
export function checkTokenPositions(
  call: Call,
  lengths: HostLengths,
  tokens: TokenLayout,
  { nPositions }: Rotary,
): void {
  const positions = lengths.tokens!.positions!;
  if (isTensor(positions)) return;
  lengths.qLen.forEach((n, b) => {
    const start = firstTokenOf(tokens, lengths, b);
    for (let row = 0; row < tokens.positionRows; row++)
      for (let i = row * tokens.nTokens + start, end = i + n; i < end; i++)
        if (positions[i]! < 0 || positions[i]! >= nPositions)
          call.refuse(
            'length',
            `positions[${i}], of sequence ${b}, is ${positions[i]}, but rotaryCos has the positions 0 to ${nPositions - 1}. Pass a longer table, or other positions.`,
          );
  });
}
