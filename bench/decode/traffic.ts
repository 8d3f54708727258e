/** What a decode step moves between GPU memory and its kernels. */
const KINDS = ['k', 'v', 'q', 'blockTable', 'tables', 'partsWritten', 'partsRead', 'out'] as const;
type Kind = (typeof KINDS)[number];

/** Bytes by what they are: tables are params, items and sequences; parts are the results of chunks. */
export type Traffic = Readonly<Record<Kind, number>>;

export interface DecodeTraffic {
  /** What any decode must move: keys and values once per kv head, queries, outputs. */
  readonly needed: Traffic;
  /** On paper: each workgroup reads once whatever it has a use for. */
  readonly moved: Traffic;
  /**
   * By instructions: what the loads and stores of all invocations ask for, though it be the same again. What a whole
   * workgroup loads from one place counts once.
   */
  readonly asked: Traffic;
}

const NOTHING = trafficOf(() => 0);

export function traffic(bytes: Partial<Traffic>): Traffic {
  return { ...NOTHING, ...bytes };
}

export function times(factor: number, bytes: Traffic): Traffic {
  return trafficOf((kind) => factor * bytes[kind]);
}

export function sum(all: readonly Traffic[]): Traffic {
  return trafficOf((kind) => all.reduce((total, bytes) => total + bytes[kind], 0));
}

/** Bytes over those that are needed. */
export interface Excess {
  /** On paper, reads alone. */
  readonly read: number;
  /** On paper, writes included. */
  readonly moved: number;
  /** By instructions. */
  readonly asked: number;
}

export function excessOf({ needed, moved, asked }: DecodeTraffic): Excess {
  const all = totalBytes(needed);
  return {
    read: readBytes(moved) / readBytes(needed),
    moved: totalBytes(moved) / all,
    asked: totalBytes(asked) / all,
  };
}

export function totalBytes(bytes: Traffic): number {
  return KINDS.reduce((total, kind) => total + bytes[kind], 0);
}

function readBytes({ k, v, q, blockTable, tables, partsRead }: Traffic): number {
  return k + v + q + blockTable + tables + partsRead;
}

function trafficOf(bytes: (kind: Kind) => number): Traffic {
  return Object.fromEntries(KINDS.map((kind) => [kind, bytes(kind)])) as Record<Kind, number>;
}
