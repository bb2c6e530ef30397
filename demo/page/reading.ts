import type { EventPayload } from '../../client/index.js'

/** `waiting`: for the person's approval. */
export type Phase = 'connecting' | 'writing' | 'reconnecting' | 'waiting' | 'complete' | 'stopped' | 'failed'

export interface PendingApproval {
  approvalId: string
  title: string
  /** How long the text was when it was asked for. */
  at: number
  /** `sending`: the person has decided, and the server does not know yet. */
  state: 'open' | 'sending' | 'decided'
  /** What was decided, if it was in this tab. */
  approved?: boolean
}

/** What an answer's events say. */
export interface Reading {
  phase: Phase
  /** Every token so far, as it was recorded. */
  text: string
  sources: readonly string[]
  approval: PendingApproval | null
  error: string | null
}

export const NOTHING_READ: Reading = { phase: 'connecting', text: '', sources: [], approval: null, error: null }

/** The next event. What comes behind an end that waits for an approval says that it was decided. */
export function read (before: Reading, { type, answer, source, approvalId, action, reason, error }: EventPayload): Reading {
  const reading: Reading = { ...before, phase: 'writing', approval: before.phase === 'waiting' ? decided(before.approval) : before.approval }
  switch (type) {
    case 'answer': return { ...reading, text: reading.text + String(answer) }
    case 'source': return { ...reading, sources: [...reading.sources, String(source)] }
    case 'approval': {
      const { title = 'Go on' } = Object(action) as { title?: unknown } // of the server's making
      return { ...reading, approval: { approvalId: String(approvalId), title: String(title), at: reading.text.length, state: 'open' } }
    }
    case 'end': return { ...reading, phase: reason === 'approval' ? 'waiting' : reason === 'stopped' ? 'stopped' : 'complete' }
    case 'error': return { ...reading, phase: 'failed', error: typeof error === 'string' ? error : 'The answer could not be finished.' }
    default: return reading
  }
}

/** The server has not taken the decision. */
export function reopened (approval: PendingApproval | null): PendingApproval | null {
  return approval?.state === 'sending' ? { ...approval, state: 'open' } : approval
}

export function decided (approval: PendingApproval | null): PendingApproval | null {
  return approval && { ...approval, state: 'decided' }
}
