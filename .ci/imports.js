/**
 * Checks which room imports which, as ARCHITECTURE.md has it, and that no files import each other in a circle. Prints each
 * violation; the exit code is 1 if there is one.
 */
import { readFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const WIRE = 'plugin/wire'
const UTIL = 'plugin/util'
const ERRORS = 'plugin/errors.ts'
const POSTGRES = 'plugin/postgres'
const REDIS = 'plugin/redis'
const WRITE = 'plugin/write'
const READ = 'plugin/read'
const OPS = 'plugin/ops'
const MESSAGES = 'plugin/messages'
const NOTIFICATIONS = 'plugin/notifications'
const SHARED = ['plugin/message-handle.ts', 'plugin/options.ts', 'plugin/user-id.ts', 'plugin/public-error.ts']
const ROUTES = 'routes'
const ABOVE = ['plugin/api.ts', 'plugin/lifecycle.ts', 'plugin/setup.ts', 'plugin/index.ts']
const BELOW = [WIRE, UTIL, ERRORS, REDIS, READ, ...SHARED]
const PLUGIN = [...BELOW, POSTGRES, WRITE, OPS, MESSAGES, NOTIFICATIONS]

/**
 * What each room may import beside itself. `types`: of these rooms only types. A file that is a room of its own stands before
 * the folder that it is in.
 */
const ROOMS = [
  { room: WIRE, imports: [] },
  { room: UTIL, imports: [] },
  { room: ERRORS, imports: [] },
  { room: POSTGRES, imports: [WIRE, UTIL, ERRORS] },
  { room: REDIS, imports: [WIRE, UTIL] },
  { room: WRITE, imports: [POSTGRES, REDIS, WIRE, UTIL] },
  { room: READ, imports: [REDIS, WIRE, UTIL, ERRORS] },
  ...SHARED.map((room) => ({ room, imports: [ERRORS, WIRE, ...SHARED], types: [UTIL, 'plugin/postgres/rows.ts'] })),
  { room: OPS, imports: [POSTGRES, ERRORS, UTIL, 'plugin/options.ts'], types: [REDIS] },
  { room: NOTIFICATIONS, imports: BELOW },
  { room: MESSAGES, imports: [...BELOW, POSTGRES, WRITE] },
  { room: 'plugin/api.ts', imports: PLUGIN },
  { room: 'plugin/lifecycle.ts', imports: PLUGIN },
  { room: 'plugin/setup.ts', imports: [...PLUGIN, ...ABOVE, ROUTES] },
  { room: 'plugin/index.ts', imports: [...PLUGIN, ...ABOVE] },
  { room: ROUTES, imports: PLUGIN },
  { room: 'client', imports: [] },
  { room: 'servers', imports: [] }
]

const isIn = (file, room) => file === room || file.startsWith(`${room}/`)

/** The files of the project that a file imports, each with whether it imports types alone. */
function importsOf (file, files) {
  const source = ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest)
  const found = new Map()
  const add = (specifier, typeOnly) => {
    if (!specifier.startsWith('.')) return
    const path = normalize(join(dirname(file), specifier))
    const target = [path, path.replace(/\.js$/, '.ts'), path.replace(/\.js$/, '.tsx')].find((candidate) => files.has(candidate))
    if (target !== undefined) found.set(target, typeOnly && found.get(target) !== false)
  }
  const visit = (node) => {
    if (ts.isImportDeclaration(node)) {
      const { importClause } = node
      const names = importClause?.namedBindings
      const isTypes = importClause?.isTypeOnly === true || (importClause?.name === undefined && names !== undefined &&
        ts.isNamedImports(names) && names.elements.length > 0 && names.elements.every((name) => name.isTypeOnly))
      add(node.moduleSpecifier.text, isTypes)
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier.text, node.isTypeOnly)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword && ts.isStringLiteral(node.arguments[0])) {
      add(node.arguments[0].text, false)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal.text, true)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function forbidden (graph) {
  const problems = []
  for (const [file, imports] of graph) {
    const rule = ROOMS.find(({ room }) => isIn(file, room))
    if (rule === undefined) continue
    for (const [target, typeOnly] of imports) {
      const allowed = [rule.room, ...rule.imports, ...(typeOnly ? rule.types ?? [] : [])]
      if (!allowed.some((room) => isIn(target, room))) problems.push(`${file} must not import ${target}${typeOnly ? ' (types)' : ''}`)
    }
  }
  return problems
}

/** Groups of files that reach each other, types included (Tarjan). */
function circles (graph) {
  const found = []
  const index = new Map()
  const low = new Map()
  const stack = []
  const visit = (file) => {
    index.set(file, index.size)
    low.set(file, index.get(file))
    stack.push(file)
    for (const target of graph.get(file).keys()) {
      if (!index.has(target)) visit(target)
      if (stack.includes(target)) low.set(file, Math.min(low.get(file), low.get(target)))
    }
    if (low.get(file) !== index.get(file)) return
    const circle = stack.splice(stack.indexOf(file))
    if (circle.length > 1) found.push(`a circle of imports: ${circle.sort().join(', ')}`)
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return found
}

const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' }).split('\n')
const files = new Set(listed.filter((file) => /\.(ts|tsx|js)$/.test(file) && !file.endsWith('.d.ts')))
const graph = new Map([...files].map((file) => [file, importsOf(file, files)]))
const problems = [...forbidden(graph), ...circles(graph)]
for (const problem of problems) console.error(problem)
console.log(`${relative(process.cwd(), ROOT) || '.'}: ${files.size} files, ${problems.length} forbidden imports`)
process.exitCode = problems.length === 0 ? 0 : 1
