import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/redis'

/** The client that @fastify/redis decorates the app with, which may be a Cluster. */
export type Redis = FastifyInstance['redis'][string]

/** A command of Redis with its arguments. */
export type Command = [name: string, ...args: Array<string | number>]

/** For each client: how many commands were given up. ioredis keeps them until they are answered. */
const givenUp = new WeakMap<Redis, number>()
/** From this many on, Redis counts as frozen, and gets no more commands. */
const MAX_GIVEN_UP = 10_000

/** Whether the client is of a Redis Cluster. */
export function isCluster (redis: Redis): boolean {
  return redis.isCluster
}

/**
 * Sends commands of one key each, in one write; with a Cluster, in a write each. Resolves with the answers in their
 * order; a refusal is an Error. Rejects when Redis is away, or does not answer within `timeoutMs`. The commands may be
 * executed all the same.
 */
export async function askAll (redis: Redis, timeoutMs: number, commands: readonly Command[]): Promise<unknown[]> {
  if (isCluster(redis)) {
    return await Promise.all(
      commands.map(async (command) => await ask(redis, timeoutMs, command).catch((error: unknown) => error)))
  }
  checkReady(redis)
  const pipeline = redis.pipeline()
  for (const [name, ...args] of commands) pipeline.call(name, ...args)
  const answers = await within(timeoutMs, redis, commands.length, execute(pipeline))
  return answers.map(([error, answer]) => error ?? answer)
}

/** The answers of a pipeline, each an error or a value. */
export async function execute (
  pipeline: ReturnType<Redis['pipeline']>
): Promise<Array<[error: Error | null, answer: unknown]>> {
  // Only a transaction's answer may be null
  return await pipeline.exec() as Array<[error: Error | null, answer: unknown]>
}

/** Sends one command. Rejects when Redis is away, refuses it, or does not answer within `timeoutMs`. */
export async function ask (redis: Redis, timeoutMs: number, [name, ...args]: Command): Promise<unknown> {
  checkReady(redis)
  return await within(timeoutMs, redis, 1, redis.call(name, ...args))
}

function checkReady (redis: Redis): void {
  if (redis.status !== 'ready') throw new Error(`Redis is ${redis.status}`)
  const count = countGivenUp(redis, 0)
  if (count >= MAX_GIVEN_UP) throw new Error(`Redis has left ${count} commands unanswered`)
}

function countGivenUp (redis: Redis, more: number): number {
  const count = (givenUp.get(redis) ?? 0) + more
  givenUp.set(redis, count)
  return count
}

/** Rejects when the answer takes longer than `timeoutMs`. */
async function within<T> (timeoutMs: number, redis: Redis, commands: number, answer: Promise<T>): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    let late = 0
    const timer = setTimeout(() => {
      late = commands
      countGivenUp(redis, late)
      reject(new Error(`Redis gave no answer within ${timeoutMs} ms`))
    }, timeoutMs)
    answer.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      countGivenUp(redis, -late)
    })
  })
}
