/**
 * FlashAttention with a paged KV cache for WebGPU.
 *
 * @module pageflash
 */

export { attn } from './attention/attn.js';
export {
  planAttnVarlen,
  planAttnWithKvCache,
  type AttentionPlan,
  type PlanChanges,
} from './attention/attentionPlan.js';
export type { LayerTensors } from './attention/layerTensors.js';
export { attnWithKvCache } from './attention/attnWithKvCache.js';
export {
  createBlockMask,
  type CreateBlockMaskArgs,
  type CreatedBlockMask,
} from './attention/createBlockMask.js';
export { attnVariants, type AttnVariantOptions } from './attention/attnVariants.js';
export { attnVarlen } from './attention/attnVarlen.js';
export { attnWeights } from './attention/attnWeights.js';
export type { CacheLayer, CacheSize } from './cache/cacheLayout.js';
export type { PageMoves, PagePairs } from './cache/pageMoves.js';
export { copyPages, type CopyPagesArgs } from './cache/copyPages.js';
export { PagedKvCache, type PagedKvCacheOptions } from './cache/pagedKvCache.js';
export type { RestoreSequenceArgs } from './cache/restoreSequence.js';
export type { ReadSavedArgs, SavedSequence, SaveSource } from './cache/savedSequence.js';
export type { SaveSequenceArgs } from './cache/saveStream.js';
export type {
  AttentionOptions,
  AttentionResult,
  AttnArgs,
  AttnVarlenArgs,
  AttnWithKvCacheArgs,
  MaskMod,
  Mod,
  ScoreMod,
  SharedPrefixArgs,
} from './problem/attentionArgs.js';
export type { BlockMask } from './problem/blockMask.js';
export type { AttnWeightsArgs, AttnWeightsResult, ChosenRows } from './problem/weightsArgs.js';
export type { PreparedMod } from './check/checkMods.js';
export { prepareModel, type PrepareModelOptions } from './attention/prepareModel.js';
export { mergeStates, type AttentionState, type MergeStatesArgs } from './attention/mergeStates.js';
export { read, readInts } from './tensors/readTensor.js';
export { fromHalves, toHalves, type Float16Numbers, type TensorData } from './tensors/tensorData.js';
export { tensorFrom, type TensorFromOptions } from './tensors/tensorFrom.js';
export { PageflashError, type ErrorCode } from './core/errors.js';
export type { DType, FloatDType, KvDType, QuantisedDType } from './core/dtype.js';
export type { KvRotation, ScaleDType } from './core/kvFormats.js';
export type { DeviceClass, DeviceTraits, MatrixConfiguration, Tier } from './core/deviceTraits.js';
export type { AdapterMatrix } from './core/matrixConfigurations.js';
export type { Pace } from './core/pace.js';
export type { Floats, Ints, Tensor } from './core/tensor.js';
export type {
  TileShape,
  TunedChunks,
  TunedDecode,
  TunedDevice,
  TunedMerge,
  TunedPrefill,
  TunedRates,
  Tuning,
} from './core/tuning.js';
export { BlockAllocator, type BlockAllocatorOptions } from './paging/blockAllocator.js';
export { commonPrefix, type Batch } from './paging/pool/batch.js';
export { drawPages, drawPagesSvg, type DrawPagesOptions } from './paging/drawPages.js';
export type { AddOptions, SequenceView } from './paging/managedSequence.js';
export { PageManager } from './paging/pageManager.js';
export type { PageSnapshot, PageUsage, SequencePages } from './paging/pageSnapshot.js';
export type { PageManagerOptions, ResetOptions } from './paging/pageStore.js';
export type { RestoredPages } from './paging/restoring.js';
export type { SaveArgs, SavedPages, SequenceState } from './paging/saving.js';
export type { PageCopy } from './paging/pool/pagePool.js';
export type { PageEvent, PublishedPage } from './paging/prefix/pageEvents.js';
export type { PinId, SequenceId } from './paging/sequenceRegistry.js';
export type { Step } from './paging/planner/step.js';
export {
  StepPlanner,
  type AddArgs,
  type AdoptArgs,
  type StepPlannerOptions,
} from './paging/planner/stepPlanner.js';
export { rotaryTables, type RotaryTables } from './rotary/rotaryTables.js';
export type { RotaryConfigOptions, RotaryOptions } from './rotary/rotaryModel.js';
export type { AdapterInfo } from './runtime/adapterInfo.js';
export { requestDevice, type RequestDeviceOptions } from './runtime/requestDevice.js';
export type { Variant } from './runtime/pipelines.js';
export type { DispatchTime } from './runtime/profiler.js';
export { createRuntime, type Runtime } from './runtime/runtime.js';
export type { PrepareOptions, PrepareProgress, RuntimeOptions } from './runtime/runtimeOptions.js';
export {
  fitKvCache,
  kvBytesPerToken,
  kvCacheBytes,
  type CacheFit,
  type CacheLoad,
  type CacheRoom,
  type DeviceLimits,
} from './sizing/kvCache.js';
export {
  attentionBytes,
  attentionFlops,
  forwardBytes,
  forwardFlops,
  layerFlops,
  roofline,
  type AttentionStep,
  type DeviceRates,
  type ForwardFlops,
  type ForwardStep,
  type LayerFlops,
  type Roofline,
  type StepCost,
  type StoredAttention,
  type StoredStep,
} from './sizing/stepCost.js';
export type { AttentionShape, CacheShape, LayerShape, ModelShape } from './sizing/modelShape.js';
export {
  parameterCounts,
  weightBytes,
  type ParameterCounts,
  type WeightPrecision,
} from './sizing/weights.js';
export { tune } from './tuning/tune.js';
export type { TuneOptions, TuneProgress } from './tuning/tuneOptions.js';
