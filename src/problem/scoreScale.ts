/** What kernels multiply scores by. */
export interface ScoreScale {
  /** From q · k to scores in base 2; with a softcap to scores / softcap. */
  readonly factor: number;
  /** softcap · log₂e */
  readonly capLog2: number;
}

export function scoreScale(softmaxScale: number, softcap: number): ScoreScale {
  return {
    factor: softcap > 0 ? softmaxScale / softcap : softmaxScale * Math.LOG2E,
    capLog2: softcap * Math.LOG2E,
  };
}
