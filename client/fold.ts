import type { UserEvent } from './events.js'

/** Background work, folded from its `<type>.queued`, `.progress`, `.completed` and `.failed`; what their payloads hold is in it. */
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

/** An agent waits for a person; what the payload of `tool.approval.required` holds is in it. */
export interface Approval {
  approvalId: string
  messageId?: unknown
  action?: unknown
  ts: string
  [field: string]: unknown
}

/** In the order in which they began. */
export interface Folded {
  tasks: Map<string, Task>
  approvals: Map<string, Approval>
}

const TASK_TYPE = /^(.+)\.(queued|progress|completed|failed)$/

/** Takes one event in. Each map holds `capacity` entries; the oldest ones leave. */
export function fold ({ tasks, approvals }: Folded, { type, ts, payload }: UserEvent, capacity: number): void {
  const fields = Object(payload) as UserEvent['payload'] // of the server's making: it may be missing
  const { taskId, approvalId } = fields
  const [, kind, status] = TASK_TYPE.exec(type) ?? []
  if (kind !== undefined && typeof taskId === 'string') {
    // The pattern knows no other status
    put(tasks, taskId, { ...tasks.get(taskId), ...fields, taskId, type: kind, status: status as Task['status'], ts }, capacity)
  }
  if (typeof approvalId !== 'string') return
  if (type === 'tool.approval.cleared') approvals.delete(approvalId)
  if (type === 'tool.approval.required') put(approvals, approvalId, { ...fields, approvalId, ts }, capacity)
}

function put<Value> (map: Map<string, Value>, key: string, value: Value, capacity: number): void {
  map.set(key, value)
  for (const first of map.keys()) if (map.size > capacity) map.delete(first)
}
