/** What a decode step moves between GPU memory and its kernels. */
const KINDS = ['k', 'v', 'q', 'blockTable', 'metadata', 'partialsWritten', 'partialsRead', 'out'] as const;
type Kind = (typeof KINDS)[number];

/** Bytes by kind. Metadata are params, work items and sequences; partials are the results of chunks of keys. */
export type Traffic = Readonly<Record<Kind, number>>;

export interface DecodeTraffic {
  /** What any decode step must move: keys and values once per kv head, queries, outputs. */
  readonly needed: Traffic;
  /** What pageflash moves if each workgroup reads each byte that it uses once. */
  readonly moved: Traffic;
  /**
   * What the loads and stores of all invocations add up to, repeated ones included. An address that is uniform over a
   * workgroup counts once.
   */
  readonly issued: Traffic;
}

const NOTHING = trafficOf(() => 0);

/** Traffic of the given kinds; the others are 0. */
export function traffic(bytes: Partial<Traffic>): Traffic {
  return { ...NOTHING, ...bytes };
}

export function times(factor: number, bytes: Traffic): Traffic {
  return trafficOf((kind) => factor * bytes[kind]);
}

export function sum(all: readonly Traffic[]): Traffic {
  return trafficOf((kind) => all.reduce((total, bytes) => total + bytes[kind], 0));
}

/** Bytes of a decode step, relative to the bytes needed. */
export interface Excess {
  /** Bytes read that are moved, over bytes read that are needed. */
  readonly read: number;
  /** Bytes moved, writes included, over bytes needed. */
  readonly moved: number;
  /** Bytes issued over bytes needed. */
  readonly issued: number;
}

export function excessOf({ needed, moved, issued }: DecodeTraffic): Excess {
  const all = totalBytes(needed);
  return {
    read: readBytes(moved) / readBytes(needed),
    moved: totalBytes(moved) / all,
    issued: totalBytes(issued) / all,
  };
}

export function totalBytes(bytes: Traffic): number {
  return KINDS.reduce((total, kind) => total + bytes[kind], 0);
}

function readBytes({ k, v, q, blockTable, metadata, partialsRead }: Traffic): number {
  return k + v + q + blockTable + metadata + partialsRead;
}

function trafficOf(bytes: (kind: Kind) => number): Traffic {
  return Object.fromEntries(KINDS.map((kind) => [kind, bytes(kind)])) as Record<Kind, number>;
}
