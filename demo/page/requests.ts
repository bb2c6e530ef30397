/** What the demo's own routes answer. */
export interface DemoState {
  pid: number
  workers: Array<{ pid: number, worker: number }>
  redis: { kind: string, running: boolean, controllable: boolean }
  answers: string
}

export interface Stats {
  pid: number
  worker: number
  uptimeS: number
  journal: Record<string, unknown>
}

/** @throws Error with the server's own words */
async function request<Answer> (url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, { cache: 'no-store', ...init })
  const text = await response.text()
  if (!response.ok) throw new Error(messageIn(text) ?? `The server answered ${response.status}`)
  return JSON.parse(text || '{}') as Answer // the demo's contract
}

function messageIn (text: string): string | undefined {
  try {
    const { message } = Object(JSON.parse(text)) as { message?: unknown } // an error of Fastify's, or none
    return typeof message === 'string' ? message : undefined
  } catch {
    return undefined
  }
}

function post<Answer> (url: string, body: object): Promise<Answer> {
  return request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

export const readDemo = (): Promise<DemoState> => request('/api/demo')

export const readStats = (): Promise<Stats> => request('/api/stats')

/** The process that writes this message, or, without one, the one that answers. */
export const killServer = (messageId?: string): Promise<{ pid: number }> => post('/api/demo/kill', { messageId })

export const switchRedis = (running: boolean): Promise<{ running: boolean }> => post('/api/demo/redis', { running })

export const decide = (messageId: string, approvalId: string, approved: boolean): Promise<object> =>
  post(`/api/messages/${messageId}/approval`, { approvalId, approved })

export const MAX_UPLOAD_BYTES = 5 * 1024 * 1024

/** Resolves when the server has the file; its progress comes as notifications. */
export async function upload (file: File): Promise<{ uploadId: string }> {
  if (file.size > MAX_UPLOAD_BYTES) throw new Error('A file may have 5 MiB')
  const contentType = /\.(md|markdown)$/i.test(file.name) ? 'text/markdown' : 'text/plain'
  return await request(`/api/uploads?name=${encodeURIComponent(file.name)}`, { method: 'POST', headers: { 'content-type': contentType }, body: file })
}

export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
