/** Shorter than the defaults, so that many producers can die in a few minutes. */
export const HEARTBEAT_MS = 1_000
export const PRODUCER_IDLE_MS = 8_000
