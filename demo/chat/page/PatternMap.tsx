import { useRef } from 'preact/hooks';
import type { Pattern } from '../protocol.js';
import { useDrawnCanvas } from './canvas.js';
import { drawPattern, layOutPattern, type PatternCell, type PatternLayout } from './drawPattern.js';

export interface PatternMapProps {
  readonly pattern: Pattern;
  readonly chosen: PatternCell | undefined;
  /** Of what is chosen, for screen readers. */
  readonly description: string | undefined;
  /** Whether another one is being computed. */
  readonly isStale: boolean;
  readonly onChoose: (cell: PatternCell | undefined) => void;
}

/** What each token looks at: a row for each. A pair is chosen by pointing at it, or by arrow keys. */
export function PatternMap({ pattern, chosen, description, isStale, onChoose }: PatternMapProps) {
  const layout = useRef<PatternLayout | undefined>(undefined);
  const { canvas } = useDrawnCanvas((drawn) => {
    layout.current = layOutPattern(drawn.clientWidth, pattern);
    drawPattern(drawn, { layout: layout.current, pattern, chosen });
  });
  const nColumns = pattern.tokens.length;
  const nRows = pattern.weights.length / nColumns;
  const chooseAt = ({ offsetX, offsetY }: PointerEvent): void => {
    const { cellWidth, cellHeight } = layout.current!;
    const column = Math.floor(offsetX / cellWidth);
    const row = Math.floor(offsetY / cellHeight);
    onChoose(isWithin(row, nRows) && isWithin(column, nColumns) ? { row, column } : undefined);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') return onChoose(undefined);
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    const { row, column } = chosen ? move(chosen, nColumns) : { row: nRows - 1, column: nColumns - 1 };
    if (isWithin(row, nRows) && isWithin(column, nColumns)) onChoose({ row, column });
  };
  return (
    <canvas
      ref={canvas}
      class="pattern-map"
      tabIndex={0}
      role="slider"
      aria-label="Attention pattern"
      aria-busy={isStale}
      aria-valuemin={0}
      aria-valuemax={nRows * nColumns - 1}
      aria-valuenow={chosen ? chosen.row * nColumns + chosen.column : 0}
      aria-valuetext={description ?? 'no pair of tokens is chosen'}
      onPointerMove={chooseAt}
      onPointerDown={chooseAt}
      // A finger leaves when it is lifted: what it has touched stays.
      onPointerLeave={({ pointerType }) => pointerType === 'mouse' && onChoose(undefined)}
      onKeyDown={onKeyDown}
    />
  );
}

/** By key: where it leads, which may be outside. */
const MOVES: Readonly<Record<string, (from: PatternCell, nColumns: number) => PatternCell>> = {
  ArrowRight: ({ row, column }) => ({ row, column: column + 1 }),
  ArrowLeft: ({ row, column }) => ({ row, column: column - 1 }),
  ArrowDown: ({ row, column }) => ({ row: row + 1, column }),
  ArrowUp: ({ row, column }) => ({ row: row - 1, column }),
  Home: ({ row }) => ({ row, column: 0 }),
  End: ({ row }, nColumns) => ({ row, column: nColumns - 1 }),
};

function isWithin(index: number, n: number): boolean {
  return index >= 0 && index < n;
}
