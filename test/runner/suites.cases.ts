import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import t from 'tap'

const FOLDER = dirname(import.meta.dirname)

t.test('each file of cases is run by one file of tests, and by no more', async (t) => {
  const files = (await readdir(FOLDER, { recursive: true })).filter((name) => /\.(test|cases)\.ts$/.test(name))
  const imported: string[] = []
  for (const file of files.filter((name) => name.endsWith('.test.ts'))) {
    const source = await readFile(join(FOLDER, file), 'utf8')
    for (const [, name] of source.matchAll(/^import '(\.\.?\/.*)\.js'$/gm)) imported.push(join(dirname(file), `${name}.ts`))
  }
  t.ok(imported.includes(relative(FOLDER, import.meta.filename).replace(/js$/, 'ts')))
  t.strictSame(imported.toSorted(), files.filter((name) => name.endsWith('.cases.ts')).toSorted())
})
