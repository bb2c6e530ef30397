/** tap runs this before the tests, once it has made its class of the plugins that package.json asks for. */
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { bundlePackages } from './bundle.js'

/** What tap leaves out of the stacks that it shows. */
const OWN_FRAMES = 'node_modules/@tapjs'

const installed = await realpath(join('node_modules', 'tap'))
await bundlePackages(join(installed, '..', '..'), process.cwd(), ['tap'], OWN_FRAMES)
