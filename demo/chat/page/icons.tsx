const PATHS = {
  send: 'M8 13V3m0 0L3.5 7.5M8 3l4.5 4.5',
  stop: 'M4.5 4.5h7v7h-7z',
  plus: 'M8 3v10M3 8h10',
  close: 'm4 4 8 8m0-8-8 8',
  fork: 'M5 3v4.5c0 2 1.5 3 3.5 3h3M5 3v10m6.5-4.5L13.5 10.5l-2 2',
  undo: 'M3 6.5h6.5a3.5 3.5 0 0 1 0 7H6M3 6.5 6 3.5M3 6.5l3 3',
  again: 'M13 8a5 5 0 1 1-1.6-3.7M13 2.5V5.5h-3',
  trash: 'M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.5 8.5h6l.5-8.5',
  down: 'm4 6 4 4 4-4',
  model: 'M8 2 13.5 5v6L8 14 2.5 11V5zM2.5 5 8 8l5.5-3M8 8v6',
} as const;

/** A picture beside a label, or on a button that has one. */
export function Icon({ name }: { readonly name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
