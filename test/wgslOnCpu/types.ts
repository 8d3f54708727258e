// Types of WGSL, and where their parts lie in memory. Everything but bool takes whole words of 4 bytes.

export type ScalarName = 'f32' | 'u32' | 'i32' | 'bool' | 'abstract int' | 'abstract float';

export interface Scalar {
  readonly kind: 'scalar';
  readonly name: ScalarName;
}

export type Type =
  | Scalar
  | { readonly kind: 'vector'; readonly size: number; readonly of: Scalar }
  /** Without a count it ends with its buffer. */
  | { readonly kind: 'array'; readonly of: Type; readonly count: number | undefined }
  | { readonly kind: 'struct'; readonly name: string; readonly members: readonly StructMember[] }
  | { readonly kind: 'atomic'; readonly of: Scalar };

export interface StructMember {
  readonly name: string;
  readonly type: Type;
  /** In bytes. */
  readonly offset: number;
}

export const scalar = (name: ScalarName): Scalar => ({ kind: 'scalar', name });

export function alignOf(type: Type): number {
  if (type.kind === 'vector') return type.size === 2 ? 8 : 16;
  if (type.kind === 'array') return alignOf(type.of);
  if (type.kind === 'struct') return Math.max(...type.members.map((member) => alignOf(member.type)));
  return 4;
}

/** In bytes; of an array without a count, 0. */
export function sizeOf(type: Type): number {
  if (type.kind === 'vector') return 4 * type.size;
  if (type.kind === 'array') return strideOf(type.of) * (type.count ?? 0);
  if (type.kind === 'struct') {
    const last = type.members.at(-1)!;
    return roundUp(last.offset + sizeOf(last.type), alignOf(type));
  }
  return 4;
}

/** From one element of an array to the next. */
export function strideOf(element: Type): number {
  return roundUp(sizeOf(element), alignOf(element));
}

export function structOf(name: string, members: readonly (readonly [string, Type])[]): Type {
  let end = 0;
  const placed = members.map(([member, type]): StructMember => {
    const offset = roundUp(end, alignOf(type));
    end = offset + sizeOf(type);
    return { name: member, type, offset };
  });
  return { kind: 'struct', name, members: placed };
}

function roundUp(bytes: number, to: number): number {
  return Math.ceil(bytes / to) * to;
}

/** The scalar that a scalar or vector consists of. */
export function scalarOf(type: Type): Scalar | undefined {
  if (type.kind === 'scalar') return type;
  return type.kind === 'vector' ? type.of : undefined;
}

/** The type with other scalars. */
export function withScalar(type: Type, of: Scalar): Type {
  return type.kind === 'vector' ? { ...type, of } : of;
}

export function isAbstract({ name }: Scalar): boolean {
  return name.startsWith('abstract');
}

export function nameOf(type: Type): string {
  switch (type.kind) {
    case 'scalar':
    case 'struct':
      return type.name;
    case 'vector':
      return `vec${type.size}<${type.of.name}>`;
    case 'array':
      return `array<${nameOf(type.of)}${type.count === undefined ? '' : `, ${type.count}`}>`;
    case 'atomic':
      return `atomic<${type.of.name}>`;
  }
}
