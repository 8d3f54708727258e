import type { DeviceLimits } from 'pageflash';
import { samplerBytes } from '../kernels/sample.js';
import type { ModelConfig } from '../model/config.js';
import { checkFits, type Fit } from '../model/fits.js';
import { activationBytes } from '../model/model.js';
import type { OpenModel } from '../model/openModel.js';
import { naiveStepBytes } from '../naive/naiveServing.js';
import type { EngineSettings } from './engineOptions.js';
import { pagedStepBytes } from './pagedAttention.js';
import { stagingBytes } from './tokenReader.js';

export interface MemoryRoom {
  /** Bytes of GPU memory that the engine may take. */
  readonly budgetBytes: number;
  /** `device.limits` */
  readonly limits: DeviceLimits;
}

/**
 * Returns the bytes of GPU memory that an engine will take.
 *
 * @throws EngineError with the sizes and what helps, if it does not fit
 */
export function checkMemory({ name, config }: OpenModel, settings: EngineSettings, room: MemoryRoom): Fit {
  return checkFits(name, config, { ...settings, ...room, stepBytes: stepBytesOf(config, settings) });
}

/** Returns what steps take, whatever they compute: all but weights and cache. */
function stepBytesOf(config: ModelConfig, settings: EngineSettings): number {
  const { attention, maxLogits: maxRows } = settings;
  const sizes = { ...settings, config };
  const ofAttention = attention === 'naive' ? naiveStepBytes(sizes) : pagedStepBytes(sizes);
  const ofSamples = samplerBytes({ vocabSize: config.vocabSize, maxRows }) + stagingBytes(maxRows);
  return activationBytes(sizes) + ofSamples + ofAttention;
}
