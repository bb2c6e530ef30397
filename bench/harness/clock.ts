/** Milliseconds of the machine's monotonic clock: the same one for all its processes (CLOCK_MONOTONIC, on Linux). */
export function monotonicMs (): number {
  return Number(process.hrtime.bigint()) / 1e6
}
