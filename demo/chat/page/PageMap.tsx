import { useEffect, useRef } from 'preact/hooks';
import type { PageCell } from '../protocol.js';
import { useDrawnCanvas } from './canvas.js';
import { drawPageMap, layOut, type MapLayout } from './drawPageMap.js';

export interface PageMapProps {
  readonly cells: readonly PageCell[];
  /** By conversation: what gives its colour. */
  readonly numbers: ReadonlyMap<string, number>;
  readonly letters: ReadonlyMap<string, string>;
  readonly chosen: number | undefined;
  /** Of the chosen page, for screen readers. */
  readonly description: string | undefined;
  readonly onChoose: (page: number | undefined) => void;
}

/** How long a page shows that it was evicted. */
const EVICTED_MS = 1500;

/** A square for each page. One is chosen by pointing at it, or by arrow keys. */
export function PageMap({ cells, numbers, letters, chosen, description, onChoose }: PageMapProps) {
  const layout = useRef<MapLayout | undefined>(undefined);
  const before = useRef<readonly PageCell[]>([]);
  const evicted = useRef(new Map<number, number>());
  useEffect(() => {
    if (before.current.length === cells.length)
      before.current.forEach((old, page) => {
        if (isEvicted(old, cells[page]!)) evicted.current.set(page, performance.now());
      });
    before.current = cells;
    // The last marks go although nothing changes any more.
    const timer = evicted.current.size > 0 ? setTimeout(redraw, EVICTED_MS + 50) : undefined;
    return () => clearTimeout(timer);
  }, [cells]);
  // Behind what finds evicted pages, which are drawn then.
  const { canvas, redraw } = useDrawnCanvas((drawn) => {
    layout.current = layOut(drawn.clientWidth, cells.length);
    const now = performance.now();
    for (const [page, ms] of evicted.current) if (ms < now - EVICTED_MS) evicted.current.delete(page);
    drawPageMap(drawn, {
      layout: layout.current,
      cells,
      numbers,
      letters,
      chosen,
      evicted: evicted.current,
    });
  });
  const pageAt = ({ offsetX, offsetY }: PointerEvent): number | undefined => {
    const { size, columns } = layout.current!;
    const column = Math.floor(offsetX / size);
    const page = Math.floor(offsetY / size) * columns + column;
    return column >= 0 && column < columns && page >= 0 && page < cells.length ? page : undefined;
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const { columns } = layout.current!;
    const at = chosen ?? -1;
    const next = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at < 0 ? 0 : at + columns,
      ArrowUp: at - columns,
      Home: 0,
      End: cells.length - 1,
    }[event.key];
    if (event.key === 'Escape') onChoose(undefined);
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0 && next < cells.length) onChoose(next);
  };
  return (
    <canvas
      ref={canvas}
      class="page-map"
      tabIndex={0}
      role="slider"
      aria-label="Page"
      aria-valuemin={0}
      aria-valuemax={Math.max(0, cells.length - 1)}
      aria-valuenow={chosen ?? 0}
      aria-valuetext={description ?? 'no page is chosen'}
      onPointerMove={(event) => onChoose(pageAt(event))}
      onPointerDown={(event) => onChoose(pageAt(event))}
      // A finger leaves when it is lifted: what it has touched stays.
      onPointerLeave={({ pointerType }) => pointerType === 'mouse' && onChoose(undefined)}
      onKeyDown={onKeyDown}
    />
  );
}

/** Whether what was found in a page can no longer be found there. */
function isEvicted(old: PageCell, cell: PageCell): boolean {
  return (
    old.state === 'cached' &&
    cell.state !== 'cached' &&
    old.conversations.length > 0 &&
    !old.conversations.some((id) => cell.conversations.includes(id))
  );
}
