import { readFile, statfs } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { cpus, release, totalmem, type as systemType } from 'node:os'
import { join } from 'node:path'
import { describeRedis } from '../../servers/redis.js'
import type { Bench } from './bench.js'

/** What was measured on, and with what. */
export interface Machine {
  cpu: string
  cores: number
  memoryGiB: number
  system: string
  disk: string
  /** By name: node, postgres, redis-server and npm packages. */
  versions: Record<string, string>
}

const PACKAGES = ['fastify', '@fastify/postgres', 'pg', '@fastify/redis', 'ioredis', 'autocannon', 'resumable-stream', 'better-sse']
/** The package that has the client which everybody here uses. */
const REDIS_PLUGIN = '@fastify/redis'

/** https://man7.org/linux/man-pages/man2/statfs.2.html */
const FILE_SYSTEMS: Record<number, string> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x794c7630: 'overlay',
  0x2fc12fc1: 'zfs'
}
const IN_MEMORY = new Set([0x01021994, 0x858458f6])

/** Whether what is written there reaches a disk: no tmpfs, no ramfs. */
export async function isOnDisk (folder: string): Promise<boolean> {
  return !IN_MEMORY.has((await statfs(folder)).type)
}

export async function freeBytes (folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

export async function describeMachine (bench: Bench): Promise<Machine> {
  const [postgres] = await bench.query<{ server_version: string }>('show server_version')
  const redis = await describeRedis(bench.servers.redisUrl)
  const packages = await Promise.all(PACKAGES.map(async (name) => [name, await packageVersion(name)] as const))
  const [cpu] = cpus()
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${systemType()} ${release()}`,
    disk: FILE_SYSTEMS[(await statfs(bench.folder)).type] ?? 'unknown',
    versions: { node: process.versions.node, postgres: postgres?.server_version ?? 'unknown', [redis.kind]: redis.version, ...Object.fromEntries(packages) }
  }
}

/** Read from its folder, as the Redis plugin finds it: not every package lets its package.json be imported. */
async function packageVersion (name: string): Promise<string> {
  const plugin = createRequire(createRequire(import.meta.url).resolve(REDIS_PLUGIN))
  for (const folder of plugin.resolve.paths(name) ?? []) {
    const file = await readFile(join(folder, name, 'package.json'), 'utf8').catch(() => null)
    if (file !== null) return (JSON.parse(file) as { version: string }).version
  }
  return 'unknown'
}
