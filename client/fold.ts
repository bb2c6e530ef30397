import type { UserEvent } from './events.js'

/**
 * A background task: its `<type>.queued`, `.progress`, `.completed` and `.failed`, with the fields of their payloads.
 */
export interface Task {
  taskId: string
  type: string
  status: 'queued' | 'progress' | 'completed' | 'failed'
  /** The time of the newest event. */
  ts: string
  progress?: unknown
  result?: unknown
  error?: unknown
  [field: string]: unknown
}

/** An approval that an agent waits for, with the fields of `tool.approval.required`. */
export interface Approval {
  approvalId: string
  messageId?: unknown
  action?: unknown
  ts: string
  [field: string]: unknown
}

/** By id, in the order in which they began. */
export interface Folded {
  tasks: Record<string, Task>
  approvals: Record<string, Approval>
}

const TASK_TYPE = /^(.+)\.(queued|progress|completed|failed)$/

/** Adds one event. Each record holds `capacity` entries, and drops the oldest ones. */
export function fold ({ tasks, approvals }: Folded, { type, ts, payload }: UserEvent, capacity: number): void {
  const fields = Object(payload) as UserEvent['payload'] // of the server's making: it may be missing
  const { taskId, approvalId } = fields
  const [, kind, status] = TASK_TYPE.exec(type) ?? []
  if (kind !== undefined && typeof taskId === 'string') {
    // The pattern knows no other status
    put(tasks, taskId, {
      ...tasks[taskId], ...fields, taskId, type: kind, status: status as Task['status'], ts
    }, capacity)
  }
  if (typeof approvalId !== 'string') return
  if (type === 'tool.approval.cleared') delete approvals[approvalId]
  if (type === 'tool.approval.required') put(approvals, approvalId, { ...fields, approvalId, ts }, capacity)
}

function put<Value> (record: Record<string, Value>, id: string, value: Value, capacity: number): void {
  record[id] = value
  for (const oldest of Object.keys(record).slice(0, -capacity)) delete record[oldest]
}
