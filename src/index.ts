export { attn, type AttnArgs } from './api/attn.js';
export {
  planAttnVarlen,
  planAttnWithKvCache,
  type AttentionPlan,
  type LayerTensors,
} from './api/attentionPlan.js';
export { attnWithKvCache, type AttnWithKvCacheArgs } from './api/attnWithKvCache.js';
export { attnVariants, type AttnVariantOptions } from './api/attnVariants.js';
export { attnVarlen, type AttnVarlenArgs } from './api/attnVarlen.js';
export type { AttentionOptions, AttentionResult } from './api/attentionArgs.js';
export { mergeStates, type AttentionState, type MergeStatesArgs } from './api/mergeStates.js';
export { PageflashError, type ErrorCode } from './core/errors.js';
export type { DType, FloatDType } from './core/dtype.js';
export type { DeviceClass, DeviceTraits, Tier } from './core/deviceTraits.js';
export type { Floats, Ints, Tensor } from './core/tensor.js';
export { requestDevice, type RequestDeviceOptions } from './runtime/requestDevice.js';
export type { Variant } from './runtime/pipelines.js';
export type { DispatchTime } from './runtime/profiler.js';
export { createRuntime, type Runtime, type RuntimeOptions } from './runtime/runtime.js';
