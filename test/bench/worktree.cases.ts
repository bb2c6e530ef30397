import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, lstat, readdir, readlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { findRevision } from '../../bench/harness/revision.js'
import { buildRevision } from '../../bench/harness/worktree.js'
import { eventually } from '../helper/journal.js'
import { plainNode } from '../helper/plain-node.js'
import { createRepository, lockOf, type Repository } from './repository.js'

const FOLDER = /^journal-against-/

/** A build that says that it has begun, by a file, and never ends. */
const ENDLESS = "import { writeFileSync } from 'node:fs'; writeFileSync('begun', ''); setInterval(() => {}, 1_000)"

const exists = async (path: string): Promise<boolean> => await access(path).then(() => true, () => false)

async function worktreesOf ({ git }: Repository): Promise<string[]> {
  return [...(await git('worktree', 'list', '--porcelain')).matchAll(/^worktree (.*)$/gm)].map(([, path = '']) => path)
}

/** Folders that were made for worktrees. */
async function foldersLeft (): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => FOLDER.test(name))
}

/** Resolves with the folder of the build that has begun. */
async function untilBegun (repository: Repository): Promise<string> {
  let folder = ''
  await eventually(async () => {
    folder = (await worktreesOf(repository))[1] ?? ''
    return folder !== '' && await exists(join(folder, 'begun'))
  })
  return folder
}

async function build ({ root }: Repository, revision: string) {
  const closers: Array<() => Promise<void>> = []
  const built = buildRevision(root, await findRevision(root, revision), (close) => { closers.push(close) })
  return { built, remove: async () => { for (const close of closers) await close() } }
}

t.test('any commit-ish is a revision, and what git does not know is named', async (t) => {
  const { root, git, commit } = await createRepository(t)
  const hash = await commit('Second', { more: '' })
  await commit('Third', { more: '3' })
  await git('tag', '--annotate', '--message', 'A tag', 'v2', hash)
  for (const text of [hash, 'HEAD~1', 'v2']) {
    t.strictSame(await findRevision(root, text), { hash, subject: 'Second' }, text)
  }
  for (const text of ['v3', 'HEAD:build.js', '', '--all']) {
    const message = `--against: git knows no commit ${text} in`
    await t.rejects(findRevision(root, text), { name: 'UsageError', message }, text)
  }
})

t.test('a revision is built in a worktree, which is removed', async (t) => {
  const repository = await createRepository(t)
  const { root, commit } = repository
  const hash = await commit('Second', { more: '' })
  await commit('Third', { 'build.js': 'process.exit(1)' })
  const { built, remove } = await build(repository, 'HEAD~1')
  const { name, plugin, command } = await built
  const tree = dirname(dirname(command))
  t.strictSame([name, plugin], [hash, `file://${tree}/dist/plugin.js`])
  t.ok(tree.startsWith(join(tmpdir(), 'journal-against-')))
  t.strictSame(await worktreesOf(repository), [root, tree])
  t.equal(await readlink(join(tree, 'node_modules')), join(root, 'node_modules'), 'it has the packages that are there')

  await remove()
  t.strictSame(await worktreesOf(repository), [root])
  t.strictSame(await foldersLeft(), [])
  t.ok(await exists(join(root, 'node_modules')))
})

t.test('a revision with another lock file gets packages of its own', async (t) => {
  const repository = await createRepository(t)
  await repository.commit('Second', { 'package-lock.json': lockOf('renamed') })
  const { built, remove } = await build(repository, 'HEAD~1')
  const tree = dirname(dirname((await built).command))
  const packages = await lstat(join(tree, 'node_modules')).catch(() => null)
  t.not(packages?.isSymbolicLink(), true) // without dependencies, npm may make no folder
  await remove()
  t.strictSame(await foldersLeft(), [])
})

t.test('a revision that does not build is named, with what the build said', async (t) => {
  const repository = await createRepository(t)
  const failing = { 'build.js': "console.error('a bracket is missing'); process.exit(1)" }
  const hash = await repository.commit('Forget a bracket', failing)
  const { built, remove } = await build(repository, 'HEAD')
  await t.rejects(built, { name: 'UsageError', message: `--against: ${hash} (Forget a bracket) cannot be built: ` })
  await t.rejects(built, { message: 'a bracket is missing' })
  await remove()

  await repository.commit('Build nothing', { 'build.js': '' })
  const nothing = await build(repository, 'HEAD')
  await t.rejects(nothing.built, { name: 'UsageError', message: /cannot be built: .*plugin\.js/ })
  await nothing.remove()
  t.strictSame(await worktreesOf(repository), [repository.root])
  t.strictSame(await foldersLeft(), [])
})

t.test('a build that is interrupted ends, and its worktree is removed', async (t) => {
  const repository = await createRepository(t)
  await repository.commit('Build for ever', { 'build.js': ENDLESS })
  const { built, remove } = await build(repository, 'HEAD')
  const stopped = t.rejects(built, { name: 'UsageError', message: /npm run build: stopped/ })
  await untilBegun(repository)
  await remove()
  await stopped
  t.strictSame(await worktreesOf(repository), [repository.root])
  t.strictSame(await foldersLeft(), [])
})

t.test('the worktree of a process that is killed is removed, too', async (t) => {
  const repository = await createRepository(t)
  await repository.commit('Build for ever', { 'build.js': ENDLESS })
  const module = fileURLToPath(new URL('../../bench/harness/worktree.js', import.meta.url))
  const script = `
    import { buildRevision } from ${JSON.stringify(module)}
    await buildRevision(${JSON.stringify(repository.root)}, { hash: 'HEAD', subject: '' }, () => {})`
  const child = spawn(...plainNode('--input-type=module', '--eval', script), { stdio: 'inherit' })
  const folder = await untilBegun(repository)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await eventually(async () => !await exists(dirname(folder)))
  await eventually(async () => (await worktreesOf(repository)).length === 1)
  t.pass('it is gone')
})
