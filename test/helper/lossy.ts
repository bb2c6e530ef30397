import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/redis'

/** What becomes of the publishes that an app sends. */
export type PublishFault = 'lose' | 'double' | 'delay'

type Text = string | Buffer
type RunScript = (script: string, keys: number, ...args: string[]) => Promise<unknown>

const DELAY_MS = 50

/**
 * Makes an app's Redis client applyFault publishes, be they sent alone, in a pipeline or by a script: the function that
 * is returned says how, and how many of the next.
 */
export function makeLossy (redis: FastifyInstance['redis']): (fault: PublishFault, count: number) => void {
  const due: PublishFault[] = []
  const late = new Set<NodeJS.Timeout>()
  const quit = redis.quit.bind(redis)
  const publishOne = redis.publish.bind(redis)
  const createPipeline = redis.pipeline.bind(redis)
  const runScript: RunScript = redis.eval.bind(redis)

  /** How often it is to be sent now. */
  function timesNow (topic: Text, text: Text): number {
    const fault = due.pop()
    if (fault === 'delay') {
      const timer = setTimeout(() => {
        late.delete(timer)
        if (redis.status === 'ready') publishOne(topic, text).catch(() => {})
      }, DELAY_MS)
      late.add(timer)
    }
    return fault === undefined ? 1 : fault === 'double' ? 2 : 0
  }

  redis.quit = async () => {
    for (const timer of late) clearTimeout(timer)
    return await quit()
  }

  redis.publish = async (topic: Text, text: Text) => {
    let readers = 0
    for (let times = timesNow(topic, text); times > 0; times--) readers = await publishOne(topic, text)
    return readers
  }

  redis.pipeline = (...commands) => {
    const pipeline = createPipeline(...commands)
    const publish = pipeline.publish.bind(pipeline)
    pipeline.publish = (topic: Text, text: Text) => {
      for (let times = timesNow(topic, text); times > 0; times--) publish(topic, text)
      return pipeline
    }
    return pipeline
  }

  const runLossy: RunScript = async (script, keys, ...args) => {
    const kept: string[] = []
    for (let at = 0; at < args.length; at += 2) {
      const [topic = '', text = ''] = args.slice(at, at + 2)
      for (let times = timesNow(topic, text); times > 0; times--) kept.push(topic, text)
    }
    return await runScript(script, keys, ...kept)
  }
  redis.eval = runLossy as typeof redis.eval // the one of its many forms that the publisher uses

  return (fault, count) => { due.push(...Array<PublishFault>(count).fill(fault)) }
}
