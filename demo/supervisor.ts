import { Type, type Static } from '@sinclair/typebox'

/** A worker that takes requests. `worker` is its place: the one that comes after it has the same. */
export const WorkerState = Type.Object({ pid: Type.Integer(), worker: Type.Integer() })

export const RedisState = Type.Object({
  kind: Type.String(),
  running: Type.Boolean(),
  controllable: Type.Boolean({ description: 'Whether it is the demo\'s own' })
})

export interface DemoState {
  workers: Array<Static<typeof WorkerState>>
  redis: Static<typeof RedisState>
}

/** Who this worker is. */
export interface Self {
  /** 1 or 2. */
  worker: number
  /** What its answers are kept under: a UUID that no other worker has or has had. */
  producer: string
}

/** What a worker may ask of the process that started it. */
export interface Supervisor {
  readonly self: Self
  state (): Promise<DemoState>
  /** Of a worker that lives. */
  pidOf (producer: string): Promise<number | undefined>
  /** SIGKILL, to whichever worker that is. Never rejects. */
  kill (producer: string): Promise<void>
  /** SIGKILL to the demo's own Redis, or starts it again; resolves with whether it runs. */
  setRedis (running: boolean): Promise<boolean>
}
