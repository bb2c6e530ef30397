import { useSyncExternalStore } from 'react'
import type { Answer } from './answer.js'
import type { Phase } from './reading.js'

const silent = () => () => {}

/** Renders anew when the phase changes, and not at each token. `null`: there is no answer yet. */
export function useNewestPhase (answer: Answer | undefined): Phase | null {
  return useSyncExternalStore(answer?.subscribe ?? silent, () => answer?.getSnapshot().phase ?? null)
}
