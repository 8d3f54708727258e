export { attn, type AttnArgs } from './api/attn.js';
export { attnVarlen, type AttnVarlenArgs } from './api/attnVarlen.js';
export type { AttentionOptions, AttentionResult } from './api/attentionArgs.js';
export { PageflashError, type ErrorCode } from './core/errors.js';
export type { DType, FloatDType } from './core/dtype.js';
export type { DeviceTraits, Tier } from './core/deviceTraits.js';
export type { Floats, Ints, Tensor } from './core/tensor.js';
export { requestDevice, type RequestDeviceOptions } from './runtime/requestDevice.js';
export { createRuntime, type Runtime, type RuntimeOptions } from './runtime/runtime.js';
