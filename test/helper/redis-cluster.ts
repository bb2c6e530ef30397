import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { askRedis } from '../../servers/redis.js'
import { freePort, launch, type ServerProcess } from '../../servers/server-process.js'
import type { Teardown } from './database.js'
import { eventually } from './journal.js'

export interface ClusterNode {
  readonly url: string
  readonly port: number
  readonly pid: number | null
  /** SIGKILL. */
  kill (): Promise<void>
  /** On the same port, with the slots it had. */
  start (): Promise<void>
}

export interface RedisCluster {
  nodes: ClusterNode[]
  /** The node that serves the key. */
  nodeOf (key: string): Promise<ClusterNode>
  /** Moves a slot with all its keys to the node. */
  move (key: string, to: ClusterNode): Promise<void>
  /** A client of the whole Cluster, to be given to @fastify/redis; closed after the test. */
  connect (): FastifyInstance['redis']
  /** Resolves once every node says that all slots are served. */
  settled (): Promise<void>
}

const SLOTS = 16_384
const SIZE = 3

// ioredis comes with @fastify/redis, which does not export it.
const { Cluster } = createRequire(createRequire(import.meta.url).resolve('@fastify/redis'))('ioredis')

async function startNode (dir: string): Promise<ClusterNode & { stop (): Promise<void> }> {
  const port = await freePort()
  const busPort = await freePort()
  const url = `redis://127.0.0.1:${port}`
  let server: ServerProcess | null = null
  async function start (): Promise<void> {
    const own = await launch({
      command: 'redis-server',
      args: ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'yes', '--appendfsync', 'no', '--dir', dir,
        '--appenddirname', String(port), '--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-config-file', `nodes-${port}.conf`,
        '--cluster-node-timeout', '2000', '--cluster-require-full-coverage', 'no'],
      ready: /Ready to accept connections/,
      orphanSignal: 'SIGTERM'
    })
    server = own
    own.exited.then(() => { if (server === own) server = null })
  }
  await start()
  return {
    url,
    port,
    get pid () { return server?.pid ?? null },
    start,
    async kill () { await server?.stop('SIGKILL') },
    async stop () { await server?.stop('SIGTERM') }
  }
}

/** Three `redis-server` processes that are a Cluster; stopped after the test. */
export async function startRedisCluster (t: Teardown): Promise<RedisCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'journal-cluster-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const nodes: Array<Awaited<ReturnType<typeof startNode>>> = []
  for (let n = 0; n < SIZE; n++) {
    const node = await startNode(dir)
    t.teardown(() => node.stop())
    nodes.push(node)
  }
  const share = Math.ceil(SLOTS / SIZE)
  for (const [n, node] of nodes.entries()) {
    await askRedis(node.url, 'CLUSTER', 'ADDSLOTSRANGE', String(n * share), String(Math.min((n + 1) * share, SLOTS) - 1))
    await askRedis(node.url, 'CLUSTER', 'SET-CONFIG-EPOCH', String(n + 1))
  }
  const [first] = nodes
  if (first === undefined) throw new Error('a Cluster without nodes')
  for (const node of nodes) await askRedis(first.url, 'CLUSTER', 'MEET', '127.0.0.1', String(node.port), (await busPortOf(node)))

  async function busPortOf (node: ClusterNode): Promise<string> {
    return /@(\d+)/.exec(await askRedis(node.url, 'CLUSTER', 'NODES'))?.[1] ?? ''
  }

  async function idOf (node: ClusterNode): Promise<string> {
    return /[0-9a-f]{40}/.exec(await askRedis(node.url, 'CLUSTER', 'MYID'))?.[0] ?? ''
  }

  async function slotOf (key: string): Promise<string> {
    return /:(\d+)/.exec(await askRedis(first?.url ?? '', 'CLUSTER', 'KEYSLOT', key))?.[1] ?? ''
  }

  async function settled (): Promise<void> {
    await eventually(async () => {
      const infos = await Promise.all(nodes.map(async ({ url }) => await askRedis(url, 'CLUSTER', 'INFO').catch(() => '')))
      return infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_slots_ok:${SLOTS}`) && info.includes(`cluster_known_nodes:${SIZE}`))
    })
  }

  async function nodeOf (key: string): Promise<ClusterNode> {
    for (const node of nodes) {
      const answer = await askRedis(node.url, 'EXISTS', key).catch((error: Error) => error.message)
      if (!answer.startsWith('MOVED')) return node
    }
    throw new Error(`no node serves ${key}`)
  }

  await settled()
  return {
    nodes,
    settled,
    nodeOf,
    async move (key, to) {
      const from = await nodeOf(key)
      const [slot, fromId, toId] = await Promise.all([slotOf(key), idOf(from), idOf(to)])
      await askRedis(to.url, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId)
      await askRedis(from.url, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId)
      const keys = await askRedis(from.url, 'CLUSTER', 'GETKEYSINSLOT', slot, '1000')
      for (const [, name = ''] of keys.matchAll(/^\$\d+\r\n(.*)\r$/gm)) await askRedis(from.url, 'MIGRATE', '127.0.0.1', String(to.port), name, '0', '5000')
      for (const node of [to, ...nodes.filter((node) => node !== to)]) await askRedis(node.url, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId)
    },
    connect () {
      const cluster = new Cluster(nodes.map(({ port }) => ({ host: '127.0.0.1', port })))
      cluster.on('error', () => {})
      t.teardown(async () => { cluster.disconnect() })
      return cluster
    }
  }
}
