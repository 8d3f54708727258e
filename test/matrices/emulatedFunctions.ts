// The WGSL in place of the functions of subgroup matrices.
//
// No lane needs what another one holds. The lanes of a subgroup share the rows of a result, and where there are more
// lanes than rows, several share the columns of each row. A lane keeps its elements of a result, all of the rows of a
// left operand that they need, and all of the columns of a right one: what several lanes need, each of them loads.
//
// A matrix is a slot: where a lane's elements begin in its array of operands or of results. One loop over all of them,
// of a length that compilers do not see, costs the least to compile: those for a CPU unroll and copy for seconds else.

/** A multiplication [M × K] · [K × N] → [M × N] in f32, and the subgroup that does it. */
export interface EmulatedMatrices {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** Of both operands. Results are f32. */
  readonly componentType: 'f16' | 'f32';
  /** Lanes of a subgroup, whatever the device has. */
  readonly subgroupSize: number;
}

export const KINDS = ['left', 'right', 'result'] as const;
export type Kind = (typeof KINDS)[number];
export type Major = 'row' | 'col';

/** How the elements of a result are shared out. */
interface Shares {
  /** Lanes among which rows are shared out, and rows of each. */
  readonly rowLanes: number;
  readonly rows: number;
  /** Columns of a lane. */
  readonly columns: number;
}

/** @throws Error if the lanes would not have equal shares */
function sharesOf({ M, N, K, subgroupSize }: EmulatedMatrices): Shares {
  const rowLanes = Math.min(M, subgroupSize);
  const columnLanes = subgroupSize / rowLanes;
  const shares = { rowLanes, rows: M / rowLanes, columns: N / columnLanes };
  if (![columnLanes, ...Object.values(shares)].every(Number.isInteger))
    throw new Error(`${subgroupSize} lanes cannot share ${M} × ${N} × ${K} evenly.`);
  return shares;
}

/** Elements of a matrix that a lane keeps. */
export function slotSize(kind: Kind, matrices: EmulatedMatrices): number {
  const { rows, columns } = sharesOf(matrices);
  return { left: rows * matrices.K, right: columns * matrices.K, result: rows * columns }[kind];
}

/** A load or store of one kind of matrices in one array. */
export interface Access {
  readonly name: string;
  readonly verb: 'load' | 'store';
  readonly kind: Kind;
  readonly major: Major;
  readonly array: string;
  /** The type of the array's elements: that of a matrix element, or four words of 32 bits which are packed with them. */
  readonly elementType: string;
  /** WGSL of the number of the array's elements. */
  readonly length: string;
}

/** How many elements of a matrix an element of an array holds, and WGSL that reads or writes number `at` of the array. */
interface Packing {
  readonly width: number;
  readonly read: string;
  /** The statement that stores `value`; undefined where two lanes would write halves of one word. */
  readonly write?: string;
}

/** @throws Error for an array whose elements do not hold those of a matrix */
function packingOf(array: string, elementType: string, type: 'f16' | 'f32'): Packing {
  const word = `${array}[at / 4u][at % 4u]`;
  if (elementType === type)
    return { width: 1, read: `f32(${array}[at])`, write: `${array}[at] = ${type}(value);` };
  if (elementType === 'vec4f' && type === 'f32') return { width: 4, read: word, write: `${word} = value;` };
  if (elementType === 'vec4u' && type === 'f32')
    return { width: 4, read: `bitcast<f32>(${word})`, write: `${word} = bitcast<u32>(value);` };
  if (elementType === 'vec4u')
    return { width: 8, read: `unpack2x16float(${array}[at / 8u][at / 2u % 4u])[at % 2u]` };
  throw new Error(`${array} is an array of ${elementType}, which holds no ${type}.`);
}

/** The function of a load or store: `name(slot, offset, stride)`. */
export function accessFunction(access: Access, matrices: EmulatedMatrices): string {
  const { name, verb, kind, major, array, elementType, length } = access;
  const { M, N, K, componentType, subgroupSize } = matrices;
  const { rowLanes, columns } = sharesOf(matrices);
  const firstRow = `emulated_invocation % ${rowLanes}u`;
  const firstColumn = `emulated_invocation % ${subgroupSize}u / ${rowLanes}u * ${columns}u`;
  // Element `e` of a slot. `owner`: the lanes that store, of those which keep the same.
  const { size, row, column, owner } = {
    left: {
      size: [M, K],
      row: `${firstRow} + e / ${K}u * ${rowLanes}u`,
      column: `e % ${K}u`,
      owner: `${firstColumn} == 0u`,
    },
    right: {
      size: [K, N],
      row: `e % ${K}u`,
      column: `${firstColumn} + e / ${K}u`,
      owner: `${firstRow} == 0u`,
    },
    result: {
      size: [M, N],
      row: `${firstRow} + e / ${columns}u * ${rowLanes}u`,
      column: `${firstColumn} + e % ${columns}u`,
      owner: 'true',
    },
  }[kind];
  const [lines, line] = major === 'row' ? [size[0]!, size[1]!] : [size[1]!, size[0]!];
  const [outer, inner] = major === 'row' ? [row, column] : [column, row];
  const element = elementOf(kind, 'slot');
  const type = kind === 'result' ? 'f32' : componentType;
  const { width, read, write } = packingOf(array, elementType, type);
  if (verb === 'store' && !write)
    throw new Error(`${array} has words of two halves each, which two lanes would write.`);
  const loop = `${loopOver(slotSize(kind, matrices))}
    let at = first + (${outer}) * line + ${inner};`;
  return `
fn ${name}(slot: u32, offset: u32, stride: u32) {
  let first = offset * ${width}u;
  let line = max(stride * ${width}u, ${line}u);
  let is_within = first + ${lines - 1}u * line + ${line}u <= ${length} * ${width}u;
  ${
    verb === 'load'
      ? `${loop} ${element} = select(emulated_nan, ${read}, is_within); }`
      : `if (is_within && ${owner}) { ${loop} let value = ${element}; ${write} } }`
  }
}`;
}

/** The functions `zeros` and `copy` of a kind. */
export function slotFunction(verb: 'zeros' | 'copy', kind: Kind, matrices: EmulatedMatrices): string {
  return `
fn emulated_${verb}_${kind}(slot: u32, other: u32, unused: u32) {
  ${loopOver(slotSize(kind, matrices))} ${elementOf(kind, 'slot')} = ${verb === 'copy' ? elementOf(kind, 'other') : '0.0'}; }
}`;
}

/** `multiply_accumulate(slot, left + 65536 right, before)` */
export function multiplyFunction(matrices: EmulatedMatrices): string {
  const { K } = matrices;
  const { columns } = sharesOf(matrices);
  return `
fn emulated_multiply_accumulate(slot: u32, operands: u32, before: u32) {
  let left = operands % 65536u;
  let right = operands / 65536u;
  ${loopOver(slotSize('result', matrices) * K)}
    let k = e % ${K}u;
    let to = e / ${K}u;
    let product = emulated_operands[left + to / ${columns}u * ${K}u + k] * emulated_operands[right + to % ${columns}u * ${K}u + k];
    emulated_results[slot + to] = emulated_results[select(slot, before, k == 0u) + to] + product;
  }
}`;
}

/** Runs commands, each the index of a function among some, and its arguments. */
export function runFunction(name: string, functions: readonly string[]): string {
  const cases = functions.map(
    (called, i) => `\n      case ${i}u: { ${called}(command.y, command.z, command.w); }`,
  );
  return `
fn ${name}(commands: u32) {
  for (var c = 0u; c < commands + emulated_zero; c++) {
    let command = emulated_commands[c];
    switch (command.x) {${cases.join('')}
      default: {}
    }
  }
}`;
}

/** `emulated_shuffle_xor(value, mask)`: the value of the lane whose number differs by the bits of a mask. */
export function shuffleFunction(invocations: number): string {
  return `
var<workgroup> emulated_lanes: array<f32, ${invocations}>;
fn emulated_shuffle_xor(value: f32, mask: u32) -> f32 {
  workgroupBarrier();
  emulated_lanes[emulated_invocation] = value;
  workgroupBarrier();
  return emulated_lanes[emulated_invocation ^ mask];
}`;
}

/** Elements of the private arrays. */
export interface ArraySizes {
  readonly operands: number;
  readonly results: number;
  readonly commands: number;
}

/** Types of matrices, private arrays, and what the entry point has to set. */
export function declarations({ operands, results, commands }: ArraySizes): string {
  return `
${KINDS.map((kind) => `alias emulated_${kind} = u32;`).join('\n')}
var<private> emulated_invocation: u32 = 0u;
var<private> emulated_zero: u32 = 0u;
var<private> emulated_nan: f32 = 0.0;
var<private> emulated_operands: array<f32, ${Math.max(1, operands)}>;
var<private> emulated_results: array<f32, ${Math.max(1, results)}>;
var<private> emulated_commands: array<vec4<u32>, ${Math.max(1, commands)}>;`;
}

/** Statements at the beginning of the entry point. */
export function setUp(localInvocationIndex: string): string {
  return `
  emulated_invocation = ${localInvocationIndex};
  emulated_zero = emulated_invocation >> 31u;
  emulated_nan = bitcast<f32>(0x7fc00000u + emulated_zero);`;
}

function elementOf(kind: Kind, slot: string): string {
  return `${kind === 'result' ? 'emulated_results' : 'emulated_operands'}[${slot} + e]`;
}

/** The head of a loop of so many steps. */
function loopOver(steps: number): string {
  return `for (var e = 0u; e < ${steps}u + emulated_zero; e++) {`;
}
