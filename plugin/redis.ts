import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/redis'

/** The client that @fastify/redis decorates the app with; a Cluster may stand in its place. */
export type Redis = FastifyInstance['redis'][string]

export type Command = [name: string, ...args: Array<string | number>]

export function isCluster (redis: Redis): boolean {
  return redis.isCluster
}

/**
 * Sends commands of one key each, in one write; with a Cluster, whose keys are on different nodes, in a write each.
 * Resolves with an answer for each, in their order, an Error where Redis said no. Rejects when Redis is away, or does
 * not answer within `timeoutMs`; what was sent may be executed all the same.
 */
export async function askAll (redis: Redis, timeoutMs: number, commands: readonly Command[]): Promise<unknown[]> {
  if (isCluster(redis)) {
    return await Promise.all(commands.map(async (command) => await ask(redis, timeoutMs, command).catch((error: unknown) => error)))
  }
  if (redis.status !== 'ready') throw new Error(`Redis is ${redis.status}`)
  const pipeline = redis.pipeline()
  for (const [name, ...args] of commands) pipeline.call(name, ...args)
  const answers = await withTimeout(timeoutMs, pipeline.exec()) ?? []
  return answers.map(([error, answer]) => error ?? answer)
}

/** One command. Rejects when Redis is away, says no, or does not answer within `timeoutMs`. */
export async function ask (redis: Redis, timeoutMs: number, [name, ...args]: Command): Promise<unknown> {
  if (redis.status !== 'ready') throw new Error(`Redis is ${redis.status}`)
  return await withTimeout(timeoutMs, redis.call(name, ...args))
}

/** A frozen server must not keep anybody waiting. */
export async function withTimeout<T> (timeoutMs: number, answer: Promise<T>): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => { reject(new Error(`Redis gave no answer within ${timeoutMs} ms`)) }, timeoutMs)
    answer.then(resolve, reject).finally(() => { clearTimeout(timer) })
  })
}
