/** [n + 1]: where each of so many things begins, laid end to end, and where the last one ends. */
export function runningSum(lengths: readonly number[]): Int32Array<ArrayBuffer> {
  const sums = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (sums[i + 1] = sums[i]! + length));
  return sums;
}
