import type { Tensor } from '../core/tensor.js';

/** The tensors that differ from layer to layer. */
export const LAYER_TENSORS = ['q', 'k', 'v', 'kCache', 'vCache', 'out', 'lse'] as const;

export type TensorsOfLayer = { readonly [Name in (typeof LAYER_TENSORS)[number]]?: Tensor };
