/**
 * WGSL of which a variant is still to be chosen, as the build reads it from `src/kernels/*.wgsl`. Everything that the
 * text alone decides is decided: names are found, conditions and loops have been parsed.
 */
export type Template = readonly Segment[];

export type Segment =
  /** Text as it stands. */
  | string
  /** The name of a declaration or of a constant, which the variant then needs. */
  | { readonly name: string }
  | { readonly if: Condition; readonly body: Template }
  /** A loop to be written out: its body for each value of the counter below the bound. */
  | { readonly counter: string; readonly below: Size; readonly body: Template }
  /** The value of a counter. */
  | { readonly turn: string }
  /** A variable for each element of an array, outermost size first. */
  | {
      readonly registers: string;
      readonly space: string;
      readonly type: Template;
      readonly sizes: readonly Size[];
    }
  /** One of these variables. */
  | { readonly register: string; readonly at: readonly Index[] };

/** A name that a spec may set, or what is made of several. */
export type Condition =
  | string
  | readonly ['!', Condition]
  | readonly ['&&', Condition, Condition]
  | readonly ['||', Condition, Condition];

/** A number, or the name of a constant. */
export type Size = number | string;

/** A number or a counter, or the quotient or the remainder of one by a size. */
export type Index = Size | readonly [Size, '/' | '%', Size];

/** A `.wgsl` file. */
export interface WgslModule {
  /** `enable` and its like. */
  readonly directives: Template;
  /** By name. Of one that has several forms, at most one is in a variant. */
  readonly declarations: Readonly<Record<string, Template>>;
}
